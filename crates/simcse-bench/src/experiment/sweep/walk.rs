//! Run after run, with the time that is left.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use simcse_ops::profile;

use super::Shard;
use crate::config::RunConfig;
use crate::experiment::{RunOptions, one_line};
use crate::record::{Claim, Status, Summary, finished_run};

/// The runs of a sweep, or one run alone.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// All of them, those of other shards as well.
    pub configs: &'a [RunConfig],
    /// The part that is this process's own; `None`: all.
    pub shard: Option<Shard>,
    /// Where runs read and write.
    pub options: &'a RunOptions,
}

/// What became of the runs.
#[derive(Debug, Default)]
pub struct Walked {
    /// Of the runs that ended well, now or before.
    pub summaries: Vec<Summary>,
    /// Runs that were this process's own, whoever ran them.
    pub runs: usize,
    /// Runs of these that failed now, or whose record is broken.
    pub failures: usize,
    /// Runs that another process is at.
    pub elsewhere: usize,
}

impl Sweep<'_> {
    /// Runs what is missing. Where there is more than one run, what ended well with the same configuration is left
    /// alone without a look at its data, and what another process is at is left to it.
    ///
    /// # Errors
    /// After Ctrl-C; for one run alone, when it fails or another process is at it.
    pub fn walk(&self, say: &dyn Fn(&str), with_profile: bool) -> Result<Walked> {
        let own = self.own();
        let (mut walked, mut elsewhere, mut clock) = (Walked::default(), Vec::new(), Clock::default());
        for (number, config) in own.iter().enumerate() {
            let at = format!("{} seed {}", config.name, config.seed);
            if self.options.interrupt.is_raised() {
                bail!("stopped by Ctrl-C before {at}; the same command goes on from there");
            }
            let Some(_claim) =
                Claim::take(&self.options.results, &config.experiment, &config.name, config.seed)?
            else {
                elsewhere.push(*config);
                continue;
            };
            match self.done(config) {
                Ok(None) => {}
                Ok(Some(summary)) => {
                    walked.summaries.push(summary);
                    continue;
                }
                Err(error) => {
                    say(&format!("[{}/{}] {at}", number + 1, own.len()));
                    walked.fail(&error, say);
                    continue;
                }
            }
            let left = own[number..].iter().filter(|config| self.is_missing(config)).count();
            say(&format!("[{}/{}] {at}{}", number + 1, own.len(), clock.remark(left)));
            let began = Instant::now();
            let result = self.options.run(config, say);
            clock.add(began.elapsed());
            if with_profile {
                say(&profile::take().to_string());
            }
            match result {
                Ok(summary) => walked.summaries.push(summary),
                Err(error) if self.options.interrupt.is_raised() || self.is_one() => return Err(error),
                Err(error) => walked.fail(&error, say),
            }
        }
        walked.runs = own.len();
        for config in elsewhere {
            self.look_again(config, &mut walked, say)?;
        }
        Ok(walked)
    }

    /// This process's own runs that have not ended well yet with the same configuration, or cannot be read.
    pub fn missing(&self) -> Vec<&RunConfig> {
        self.own().into_iter().filter(|config| self.is_missing(config)).collect()
    }

    fn is_missing(&self, config: &RunConfig) -> bool {
        self.options.again || !matches!(self.options.recorded(config), Ok(Some(_)))
    }

    fn own(&self) -> Vec<&RunConfig> {
        let is_own = |number: &usize| self.shard.is_none_or(|shard| shard.has(*number));
        (0..self.configs.len()).filter(is_own).map(|number| &self.configs[number]).collect()
    }

    /// What became meanwhile of a run that another process was at.
    fn look_again(&self, config: &RunConfig, walked: &mut Walked, say: &dyn Fn(&str)) -> Result<()> {
        let found = finished_run(&self.options.results, &config.experiment, &config.name, config.seed)?;
        match found {
            Some(summary) if summary.status == Status::Ok => walked.summaries.push(summary),
            Some(summary) if summary.status == Status::Failed => {
                let reason = anyhow::anyhow!(summary.reason.unwrap_or_default());
                say(&format!("{} seed {}, in another process:", config.name, config.seed));
                walked.fail(&reason, say);
            }
            _ if self.is_one() => {
                bail!("another process is at this run; fix: wait for it, or give another --out")
            }
            _ => walked.elsewhere += 1,
        }
        Ok(())
    }

    fn is_one(&self) -> bool {
        self.configs.len() == 1
    }

    /// One run alone is looked at closely, data included, by [`RunOptions::run`].
    fn done(&self, config: &RunConfig) -> Result<Option<Summary>> {
        if self.options.again || self.is_one() { Ok(None) } else { self.options.recorded(config) }
    }
}

impl Walked {
    fn fail(&mut self, error: &anyhow::Error, say: &dyn Fn(&str)) {
        say(&format!("failed: {}", one_line(error)));
        self.failures += 1;
    }
}

/// How long runs took.
#[derive(Debug, Default)]
struct Clock {
    runs: u32,
    total: Duration,
}

impl Clock {
    fn add(&mut self, time: Duration) {
        self.runs += 1;
        self.total += time;
    }

    /// For the line above a run: runs that are left with it, and after the first run about how long they take here.
    fn remark(&self, left: usize) -> String {
        if left <= 1 && self.runs == 0 {
            return String::new();
        }
        let runs = if left == 1 { "the last run" } else { &format!("{left} runs left") };
        match self.total.checked_div(self.runs) {
            None => format!(" · {runs}"),
            Some(mean) => {
                let minutes = mean.mul_f64(left as f64).as_secs().div_ceil(60);
                format!(" · {runs}, about {} h {:02} min", minutes / 60, minutes % 60)
            }
        }
    }
}
