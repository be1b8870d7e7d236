//! Where the time of training steps goes: switched on, kernels and phases of a step are timed and counted.
//!
//! Off, a timer costs one atomic load. Only what runs inside of [`step`] counts, so that scoring between steps does
//! not blur the picture. Kernels do not nest; phases contain kernels and what no kernel does (candle's own
//! element-wise passes, gradients that are added up, allocation), which is the rest of the step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static ENABLED: AtomicBool = AtomicBool::new(false);
static IN_STEP: AtomicBool = AtomicBool::new(false);
static ENTRIES: Mutex<BTreeMap<Key, Total>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Step,
    Phase(&'static str),
    Kernel(&'static str),
}

/// Calls of one kernel or phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// Number of calls.
    pub calls: u64,
    /// Time inside of them.
    pub time: Duration,
    /// Floating point operations of matrix products, a multiplication and an addition counted as two; 0 elsewhere.
    pub operations: u64,
}

/// Everything that was timed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// All steps.
    pub steps: Total,
    /// Parts of a step, by name.
    pub phases: Vec<(&'static str, Total)>,
    /// Kernels, longest time first.
    pub kernels: Vec<(&'static str, Total)>,
}

/// Switches timing on for the rest of the process.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Times from here to the end of its life, where timing is on.
#[derive(Debug)]
#[must_use = "a timer that is not kept times nothing"]
pub struct Timer {
    running: Option<(Key, u64, Instant)>,
}

/// One training step.
pub fn step() -> Timer {
    let enabled = ENABLED.load(Ordering::Relaxed);
    IN_STEP.store(enabled, Ordering::Relaxed);
    Timer { running: enabled.then(|| (Key::Step, 0, Instant::now())) }
}

/// One part of a step.
pub fn phase(name: &'static str) -> Timer {
    Timer::new(Key::Phase(name), 0)
}

/// One call of a kernel.
pub fn kernel(name: &'static str) -> Timer {
    Timer::new(Key::Kernel(name), 0)
}

/// One matrix product, `[m, k] · [k, n]`.
pub(crate) fn product(name: &'static str, m: usize, k: usize, n: usize) -> Timer {
    Timer::new(Key::Kernel(name), 2 * (m * k * n) as u64)
}

impl Timer {
    fn new(key: Key, operations: u64) -> Self {
        let counts = IN_STEP.load(Ordering::Relaxed);
        Self { running: counts.then(|| (key, operations, Instant::now())) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some((key, operations, began)) = self.running.take() else { return };
        let time = began.elapsed();
        if key == Key::Step {
            IN_STEP.store(false, Ordering::Relaxed);
        }
        let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
        let total = entries.entry(key).or_default();
        total.calls += 1;
        total.time += time;
        total.operations += operations;
    }
}

/// What was timed since the last call; the next one begins from nothing.
pub fn take() -> Profile {
    let entries = std::mem::take(&mut *ENTRIES.lock().unwrap_or_else(PoisonError::into_inner));
    let mut profile = Profile::default();
    for (key, total) in entries {
        match key {
            Key::Step => profile.steps = total,
            Key::Phase(name) => profile.phases.push((name, total)),
            Key::Kernel(name) => profile.kernels.push((name, total)),
        }
    }
    profile.kernels.sort_by_key(|(_, total)| std::cmp::Reverse(total.time));
    profile
}

impl std::fmt::Display for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps = self.steps.calls.max(1) as f64;
        let whole = self.steps.time.as_secs_f64();
        let line = |formatter: &mut std::fmt::Formatter<'_>, name: &str, total: &Total| {
            let seconds = total.time.as_secs_f64();
            let share = if whole > 0.0 { 100.0 * seconds / whole } else { 0.0 };
            write!(formatter, "{name:<28} {:>8.2} {share:>6.1} {:>8.1}", 1e3 * seconds / steps, {
                total.calls as f64 / steps
            })?;
            if total.operations > 0 {
                write!(formatter, " {:>9.0}", total.operations as f64 / seconds / 1e9)?;
            }
            writeln!(formatter)
        };
        writeln!(formatter, "{:<28} {:>8} {:>6} {:>8} {:>9}", "", "ms/step", "%", "calls", "GFLOP/s")?;
        line(formatter, "step", &self.steps)?;
        for (name, total) in &self.phases {
            line(formatter, &format!("  {name}"), total)?;
        }
        writeln!(formatter, "kernels")?;
        let mut rest = self.steps.time;
        for (name, total) in &self.kernels {
            rest = rest.saturating_sub(total.time);
            line(formatter, &format!("  {name}"), total)?;
        }
        line(formatter, "  no kernel of ours", &Total { calls: 0, time: rest, operations: 0 })
    }
}
