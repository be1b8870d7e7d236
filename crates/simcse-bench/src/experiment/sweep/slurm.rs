//! The script of an array job for SLURM.

/// A script whose `tasks` tasks give `command` with one shard each. `words` are what follows the program: they are
/// quoted for the shell.
///
/// What a cluster needs beside it (partition, account, time) is left to be filled in, since every cluster has its own.
pub fn array_script(name: &str, words: &[String], tasks: usize) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!(
        "#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{tasks}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --output={name}-%A-%a.log
# Give --partition, --account and --time as your cluster wants them. A task that was stopped goes on when the job is
# submitted again; two jobs at once share the work.
set -euo pipefail
export RAYON_NUM_THREADS=\"${{SLURM_CPUS_PER_TASK:-4}}\"
{} --shard \"${{SLURM_ARRAY_TASK_ID}}/{tasks}\"
",
        words.join(" ")
    )
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
