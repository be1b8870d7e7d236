//! Configurations that cannot be used: file, line, key and mend in one line, before anything is written.

use crate::common::{World, assert_says, error_line};

fn error_of(world: &World, arguments: &[&str]) -> String {
    let line = error_line(&world.command("out", arguments).output().unwrap());
    assert!(line.contains("fix: "), "{line}");
    assert!(world.files("out").is_empty(), "{:?}", world.files("out").keys());
    line
}

#[test]
fn values_out_of_range_or_of_another_type() {
    for (key, value, problem) in [
        ("name", r#""a b""#, "name = \"a b\""),
        ("train", "[]", "data.train"),
        ("max_tokens", "0", "data.max_tokens"),
        ("unit", r#""letters""#, "vocabulary.unit: unknown variant `letters`"),
        ("kind", r#""textcnn""#, "encoder"),
        ("widths", "[2, 2]", "encoder.network.widths"),
        ("maps", r#""many""#, "encoder.network.maps: invalid type: string \"many\""),
        ("output_dropout", "1.0", "output_dropout = 1"),
        ("crop", "-0.1", "augmentation.crop"),
        ("temperature", "0.0", "temperature = 0"),
        ("candidates", r#""2n""#, "loss.candidates: unknown variant `2n`"),
        ("symmetric", "1", "loss.symmetric: invalid type"),
        ("batch_size", "1", "train.batch_size = 1"),
        ("steps", "-1", "train.steps: invalid value"),
        ("learning_rate", "nan", "train.learning_rate = NaN"),
        ("schedule", r#""cosine""#, "train.schedule: unknown variant `cosine`"),
        ("warmup_steps", "13", "train.warmup_steps = 13"),
        ("evaluate_every", "0", "train.evaluate_every = 0"),
        ("chance_level_steps", "true", "health.chance_level_steps: invalid type"),
        ("tasks", "[]", "evaluation.tasks"),
        ("select_on", r#""lcqmc""#, "evaluation.select_on: invalid type"),
    ] {
        let world = World::new();
        if key == "kind" {
            // `kind` stands in two sections.
            let config =
                world.read("small.toml").replacen(r#"kind = "text_cnn""#, &format!("kind = {value}"), 1);
            world.write("small.toml", config.as_bytes());
            assert_says(&error_of(&world, &[]), "small.toml:", &[problem, "text_cnn"]);
            continue;
        }
        let place = format!("small.toml:{}: ", world.set(key, value));
        assert_says(&error_of(&world, &[]), &place, &[problem]);
    }
}

#[test]
fn keys_that_are_unknown() {
    for (section, key) in [
        ("data", "trian"),
        ("encoder.network", "dropout"),
        ("loss", "margins"),
        ("train", "step"),
        ("health", "on"),
    ] {
        let world = World::new();
        let header = format!("[{section}]\n");
        let config = world.read("small.toml").replacen(&header, &format!("{header}{key} = 1\n"), 1);
        world.write("small.toml", config.as_bytes());
        let line = 1 + config.lines().position(|line| line == format!("{key} = 1")).unwrap();
        let parts =
            [format!("unknown field `{key}`, expected "), "fix: correct the key or take it out".to_owned()];
        assert_says(
            &error_of(&world, &[]),
            &format!("small.toml:{line}: "),
            &parts.each_ref().map(String::as_str),
        );
    }
}

#[test]
fn keys_that_are_missing() {
    for (section, key) in [("train", "steps"), ("encoder.network", "maps"), ("loss", "symmetric")] {
        let world = World::new();
        let config: Vec<String> = world.read("small.toml").lines().map(str::to_owned).collect();
        let prefix = format!("{key} = ");
        let kept: String =
            config.iter().filter(|line| !line.starts_with(&prefix)).map(|line| format!("{line}\n")).collect();
        world.write("small.toml", kept.as_bytes());
        let header = 1 + kept.lines().position(|line| line == format!("[{section}]")).unwrap();
        let parts = [format!("missing field `{key}`"), "fix: add it".to_owned()];
        assert_says(
            &error_of(&world, &[]),
            &format!("small.toml:{header}: "),
            &parts.each_ref().map(String::as_str),
        );
    }
}

#[test]
fn text_that_is_no_toml() {
    let world = World::new();
    let line = world.set("steps", "= 3");
    assert_says(&error_of(&world, &[]), &format!("small.toml:{line}: "), &[]);
}

#[test]
fn a_file_that_is_not_there() {
    let world = World::new();
    std::fs::remove_file(world.path("small.toml")).unwrap();
    assert_says(
        &error_of(&world, &[]),
        "small.toml: cannot be read (No such file",
        &["name a configuration file"],
    );
}

#[test]
fn overrides_are_named_as_given() {
    for (set, parts) in [
        ("train.steps=many", vec!["train.steps: invalid type: string \"many\""]),
        ("train.step=3", vec!["unknown field `step`"]),
        ("train.learning_rate=-1", vec!["train.learning_rate = -1"]),
        ("trian.steps=3", vec!["no section \"trian\""]),
        ("steps", vec!["fix: write key.path=value"]),
    ] {
        let line = error_of(&World::new(), &["--set", set]);
        assert_says(&line, &format!("--set {set}: "), &parts);
    }
}

#[test]
fn a_sweep_names_file_and_variant() {
    let sweep = |variants: &str| {
        let world = World::new();
        world.write("sweep.toml", format!("base = \"small.toml\"\nseeds = [1]\n{variants}").as_bytes());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_exp-textcnn"));
        world.prepare(&mut command);
        let output = command.args(["sweep.toml", "--data-dir", "data", "--out", "out"]).output().unwrap();
        assert!(world.files("out").is_empty());
        error_line(&output)
    };
    let variant =
        |rest: &str| sweep(&format!("[[variant]]\nname = \"a\"\nlabel = \"a\"\ngroup = \"g\"\n{rest}"));
    let line = variant("set = { \"train.steps\" = -1 }\n");
    assert_says(&line, "sweep.toml: variant a: train.steps: invalid value", &["fix: "]);
    let line = variant("set = { \"trian.steps\" = 1 }\n");
    assert_says(&line, "sweep.toml: variant a: ", &["no section \"trian\"", "fix: "]);
    let line = variant("sets = 1\n");
    assert_says(&line, "sweep.toml:7: unknown field `sets`", &["fix: "]);
    assert_says(&sweep("variant = []\n"), "sweep.toml: describes no run", &["fix: "]);
}
