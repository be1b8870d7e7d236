# The menu. Logic lives in the crates; a recipe names a command.

set positional-arguments

export RUST_BACKTRACE := env("RUST_BACKTRACE", "0")

# List what there is
[private]
default:
    @{{ just_executable() }} --list --unsorted

# Train and score an unsupervised SimCSE TextCNN; arguments go to the experiment (--seed, --set, --data-dir …)
exp-textcnn *arguments:
    cargo run --release --locked --quiet -p exp-textcnn -- experiments/textcnn/configs/headline.toml "$@"

# Run every TextCNN configuration and ablation into results/ (about an hour; needs SIMCSE_DATA_DIR and SIMCSE_MODEL_DIR; continues where it stopped)
exp-textcnn-all *arguments:
    cargo run --release --locked --quiet -p exp-textcnn -- experiments/textcnn/configs/headline-seeds.toml experiments/textcnn/configs/ablations.toml --out results "$@"

# Train and score an unsupervised SimCSE transformer (needs SIMCSE_MODEL_DIR, or --set encoder.checkpoint=…)
exp-bert-unsup *arguments:
    cargo run --release --locked --quiet -p exp-bert-unsup -- experiments/bert-unsup/configs/headline.toml "$@"

# Run every row of the tables of unsupervised transformers into results/ (hours; needs SIMCSE_MODEL_DIR; continues where it stopped)
exp-bert-unsup-all *arguments:
    cargo run --release --locked --quiet -p exp-bert-unsup -- experiments/bert-unsup/configs/rows-*.toml --out results "$@"

# Train and score a supervised SimCSE transformer (needs SIMCSE_MODEL_DIR)
exp-bert-sup *arguments:
    cargo run --release --locked --quiet -p exp-bert-sup -- experiments/bert-sup/configs/headline.toml "$@"

# Run every row of the tables of supervised transformers into results/ (hours; needs SIMCSE_MODEL_DIR; continues where it stopped)
exp-bert-sup-all *arguments:
    cargo run --release --locked --quiet -p exp-bert-sup -- experiments/bert-sup/configs/rows-*.toml --out results "$@"

# Train and score a TextCNN by AM-Softmax over sentence classes
exp-amsoftmax *arguments:
    cargo run --release --locked --quiet -p exp-amsoftmax -- experiments/amsoftmax/configs/headline.toml "$@"

# Run every configuration and ablation of sentence classes into results/ (hours; needs SIMCSE_MODEL_DIR; continues where it stopped)
exp-amsoftmax-all *arguments:
    cargo run --release --locked --quiet -p exp-amsoftmax -- experiments/amsoftmax/configs/ablations.toml experiments/amsoftmax/configs/rows-transformer.toml --out results "$@"

# Train and score a TextCNN that follows the embeddings of e5 (needs SIMCSE_MODEL_DIR)
exp-distill *arguments:
    cargo run --release --locked --quiet -p exp-distill -- experiments/distill/configs/headline.toml "$@"

# Run every student, teacher and loss of distillation into results/ (hours; needs SIMCSE_MODEL_DIR; continues where it stopped)
exp-distill-all *arguments:
    cargo run --release --locked --quiet -p exp-distill -- experiments/distill/configs/rows.toml experiments/distill/configs/rows-transformer.toml --out results "$@"

# Any configuration of an experiment: just exp bert-sup bert-base-uncased
exp experiment config *arguments:
    experiment="$1" config="$2"; shift 2; cargo run --release --locked --quiet -p "exp-$experiment" -- "experiments/$experiment/configs/$config.toml" "$@"

# Score what needs no training (Jaccard, mean of character vectors) into results/
baselines *arguments:
    cargo run --release --locked --quiet -p simcse-cli -- baselines "$@"

# Time training and encoding beside PyTorch, sentence-transformers and onnxruntime into results/bench (half an hour on an idle machine)
bench-peers *arguments:
    python3 benches/peers/run.py "$@"

# Measure how time and memory of a step grow with batch, length and classes into results/bench (ten minutes, idle machine)
growth *arguments:
    python3 benches/growth.py "$@"

# Measure how fast the recorded encoders embed sentences into results/bench (some minutes, idle machine)
encoder-speed *arguments:
    python3 benches/encoders.py "$@"

# Measure time and memory of the trainings of [costs] in results/tables.toml into results/bench (ten minutes, idle machine)
costs *arguments:
    python3 benches/costs.py "$@"

# Count the cosines of the recorded encoders by gold class into results/bench, for the figure
cosines *arguments:
    cargo run --release --locked --quiet -p simcse-cli -- cosines "$@"

# Make the figures of recorded runs again, from their encoder or by --train: just verify textcnn/headline-s1
verify *arguments:
    cargo run --release --locked --quiet -p simcse-cli -- verify "$@"

# Run what a table of results/tables.toml needs and what has not been run yet: just reproduce textcnn (or all)
reproduce *arguments:
    cargo run --release --locked --quiet -p simcse-cli -- reproduce "$@"

# Rebuild every table and figure from results/runs
tables *arguments:
    cargo run --release --locked --quiet -p simcse-cli -- report "$@"

# All tests; those that need SIMCSE_DATA_DIR or SIMCSE_MODEL_DIR say so where it is not set
test *arguments:
    @[ -n "${SIMCSE_DATA_DIR:-}" ] || echo "left out: tests on real data; to run them, point SIMCSE_DATA_DIR at a folder as docs/data.md describes it"
    @[ -n "${SIMCSE_MODEL_DIR:-}" ] || echo "left out: tests on published tokenizers and vectors; to run them, point SIMCSE_MODEL_DIR at their folder"
    cargo test --workspace --locked "$@"

# The tests of the kernels under AddressSanitizer, which sees every access out of bounds of the unsafe code (x86-64 Linux)
asan *arguments:
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" cargo test -p simcse-ops --locked --target x86_64-unknown-linux-gnu --target-dir target/asan "$@"

# What CI checks beside the tests: format, lints, documentation, fresh tables
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo run --locked --quiet -p simcse-cli -- report --check

# Licences and sources of all dependencies (needs cargo-deny)
deny:
    cargo deny check licenses bans sources

# Write the bundled sample again from its templates
sample:
    cargo run --locked --quiet -p simcse-data --example make_sample
