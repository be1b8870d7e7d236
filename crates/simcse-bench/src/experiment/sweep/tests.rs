use super::*;

const BASE: &str = include_str!("../../../../../experiments/textcnn/configs/headline.toml");

fn load_sweep(sweep: &str) -> anyhow::Result<Vec<crate::config::RunConfig>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("base.toml"), BASE).unwrap();
    let path = folder.path().join("sweep.toml");
    std::fs::write(&path, format!("base = \"base.toml\"\nseeds = [1, 2]\n{sweep}")).unwrap();
    load(&path, &[], &[])
}

#[test]
fn a_grid_is_a_variant_for_every_combination() {
    let configs = load_sweep(
        r#"
        [[grid]]
        name = "t-{loss.temperature}-batch-{train.batch_size}"
        label = "temperature {loss.temperature}, batches of {train.batch_size}"
        group = "temperature"
        seeds = [7]
        set = { "train.steps" = 5, "train.warmup_steps" = 0 }
        values = { "loss.temperature" = [0.01, 0.05], "train.batch_size" = [64, 128] }
        "#,
    )
    .unwrap();
    let names: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["t-0.01-batch-64", "t-0.01-batch-128", "t-0.05-batch-64", "t-0.05-batch-128"]);
    assert_eq!(configs[1].label, "temperature 0.01, batches of 128");
    assert_eq!((configs[1].train.batch_size, configs[1].train.steps, configs[1].seed), (128, 5, 7));
    let simcse_losses::LossConfig::InfoNce(loss) = &configs[2].loss else { panic!("another loss") };
    assert!((loss.temperature - 0.05).abs() < 1e-12);
}

#[test]
fn grids_that_make_no_sense_say_so() {
    let grid = |name: &str, values: &str| {
        let text = format!("[[grid]]\nname = \"{name}\"\nlabel = \"l\"\ngroup = \"g\"\nvalues = {values}");
        format!("{:#}", load_sweep(&text).unwrap_err())
    };
    let same = grid("t", r#"{ "loss.temperature" = [0.01, 0.05] }"#);
    assert!(same.contains("two variants are named \"t\""), "{same}");
    let empty = grid("t", r#"{ "loss.temperature" = [] }"#);
    assert!(empty.contains("loss.temperature has no values; fix: "), "{empty}");
    let out_of_range = grid("t-{loss.temperature}", r#"{ "loss.temperature" = [-1.0] }"#);
    assert!(out_of_range.contains("variant t--1"), "{out_of_range}");
    let nothing = format!("{:#}", load_sweep("").unwrap_err());
    assert!(nothing.contains("give variants or a grid"), "{nothing}");
}

#[test]
fn shards_are_parts_of_the_whole() {
    let shards = ["1/3", "2/3", "3/3"].map(|text| text.parse::<Shard>().unwrap());
    for number in 0..10 {
        assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
    }
    for wrong in ["", "1", "0/3", "4/3", "1/0", "a/3"] {
        let error = format!("{:#}", wrong.parse::<Shard>().unwrap_err());
        assert!(error.contains("fix: give I/N"), "{error}");
    }
}

/// The shell reads the words of the script as they were.
#[test]
fn a_script_gives_every_task_its_shard() {
    let words = ["echo", "a b", "it's", "--set", "x=\"y\""].map(str::to_owned);
    let script = array_script("textcnn", &words, 3);
    assert!(script.contains("#SBATCH --array=1-3\n"), "{script}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.sh");
    std::fs::write(&path, script).unwrap();
    let output = std::process::Command::new("bash").arg(&path).env("SLURM_ARRAY_TASK_ID", "2").output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "a b it's --set x=\"y\" --shard 2/3\n");
}
