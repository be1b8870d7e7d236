//! A chart with points and lines, as the figures about runs share it.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::figure_style::GREY;

/// A series of a chart.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Joined by a line where there is more than one.
    pub(super) points: Vec<(f64, f64)>,
    /// The point that is drawn as a dot.
    pub(super) mark: (f64, f64),
    /// Beside the dot; may be empty.
    pub(super) text: String,
    pub(super) colour: RGBColor,
}

pub(super) type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the series into a panel; the axes span all points.
pub(super) fn draw(panel: &Panel<'_>, caption: &str, axes: (&str, &str), series: &[Series]) -> Result<()> {
    let all = || series.iter().flat_map(|series| series.points.iter().chain([&series.mark]));
    let range = |value: fn(&(f64, f64)) -> f64| {
        let low = all().map(value).fold(f64::INFINITY, f64::min);
        let high = all().map(value).fold(f64::NEG_INFINITY, f64::max);
        let edge = 0.06 * (high - low).max(1e-6);
        low - edge..high + edge
    };
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .caption(caption, ("sans-serif", 15).into_font().color(&GREY))
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
    chart
        .configure_mesh()
        .x_desc(axes.0)
        .y_desc(axes.1)
        .axis_style(GREY)
        .bold_line_style(GREY.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 12).into_font().color(&GREY))
        .x_labels(6)
        .y_labels(6)
        .draw()?;
    for Series { points, mark, text, colour } in series {
        if points.len() > 1 {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.mix(0.7).stroke_width(1)))?;
        }
        let radius = if text.is_empty() { 2 } else { 4 };
        chart.draw_series([Circle::new(*mark, radius, colour.filled())])?;
        let style = ("sans-serif", 12).into_font().color(&GREY);
        chart.draw_series([EmptyElement::at(*mark) + Text::new(text.clone(), (6, -12), style)])?;
    }
    Ok(())
}

/// A legend: a dot and a line of text for each entry.
pub(super) fn legend(panel: &Panel<'_>, entries: &[(RGBColor, String)]) -> Result<()> {
    for (place, (colour, text)) in entries.iter().enumerate() {
        let line = 40 + 20 * place as i32;
        panel.draw(&Circle::new((12, line + 6), 4, colour.filled()))?;
        let style = ("sans-serif", 12).into_font().color(&GREY);
        panel.draw(&Text::new(text.clone(), (24, line), style))?;
    }
    Ok(())
}
