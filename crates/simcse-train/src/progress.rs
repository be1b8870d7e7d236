//! A bar with rate and time left on a terminal; now and then a line in a pipe.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Progress over a known number of steps, on standard error.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    total: u64,
    begun: Instant,
    first: u64,
    last_line: Instant,
}

impl Progress {
    /// Starts at `done` of `total`.
    pub fn new(name: &str, done: u64, total: u64) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(done).with_prefix(name.to_owned());
            let template = "{prefix} {bar:30} {pos}/{len} · {per_sec} · {eta} left · {msg}";
            bar.with_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { name: name.to_owned(), bar, total, begun: now, first: done, last_line: now }
    }

    /// Says that `done` steps are done; `message` is shown beside.
    pub fn set(&mut self, done: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message.to_owned());
        } else if self.last_line.elapsed() >= LINE_EVERY || done == self.total {
            self.last_line = Instant::now();
            let rate = (done - self.first) as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
            let left = (self.total - done) as f64 / rate.max(1e-9);
            self.line(&format!(
                "{} {done}/{} · {rate:.1}/s · {left:.0} s left · {message}",
                self.name, self.total
            ));
        }
    }

    /// A line of its own, above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // A closed pipe is no reason to stop a training.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
