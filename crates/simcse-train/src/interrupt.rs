//! Ctrl-C: finish the step, write the checkpoint, leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A flag that Ctrl-C (or SIGTERM) raises. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
}

impl Interrupt {
    /// The flag of this process. A second Ctrl-C ends the process at once.
    ///
    /// Fails when another handler is installed already.
    pub fn of_process() -> anyhow::Result<Self> {
        static FLAG: OnceLock<Interrupt> = OnceLock::new();
        if let Some(flag) = FLAG.get() {
            return Ok(flag.clone());
        }
        let flag = Self::default();
        let shared = flag.clone();
        ctrlc::set_handler(move || {
            if shared.raised.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })?;
        Ok(FLAG.get_or_init(|| flag).clone())
    }

    /// Raises the flag, as Ctrl-C does.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Whether the flag is up.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }
}
