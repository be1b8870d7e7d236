//! What figures share: colours, and numbers for people.

use plotters::style::RGBColor;

/// Text, axes and grids: legible on white and on black.
pub(super) const GREY: RGBColor = RGBColor(128, 128, 128);

/// Series, told apart by people who do not see red and green apart as well.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(59, 130, 246),
    RGBColor(217, 119, 6),
    RGBColor(16, 150, 110),
    RGBColor(190, 80, 190),
    RGBColor(220, 60, 60),
    RGBColor(120, 130, 20),
];

/// The experiments of a figure, each with a colour.
#[derive(Debug)]
pub(super) struct Experiments<'a>(Vec<&'a str>);

impl<'a> Experiments<'a> {
    /// In the order of their names, each once.
    pub(super) fn of(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The colour of one of them.
    pub(super) fn colour(&self, name: &str) -> RGBColor {
        COLOURS[self.0.iter().position(|other| *other == name).unwrap_or(0) % COLOURS.len()]
    }

    /// Colour and name of each.
    pub(super) fn legend(&self) -> Vec<(RGBColor, String)> {
        self.0.iter().map(|name| (self.colour(name), (*name).to_owned())).collect()
    }
}

/// A number without decimals, thousands apart.
pub(super) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        let shown = [0.0, 12.4, 999.6, 1234.0, 1_234_567.0].map(super::number);
        assert_eq!(shown, ["0", "12", "1,000", "1,234", "1,234,567"]);
    }
}
