//! Places are searched in order, and what is nowhere says where it was looked for.

use super::*;
use crate::files::write_whole;
use tempfile::TempDir;

struct Places {
    root: TempDir,
}

impl Places {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("given")).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, name: &str) {
        write_whole(&self.path(name), b"a\tb\t1\n").unwrap();
    }

    fn source(&self) -> DataSource {
        let hub = HubOptions { offline: true, cache_dir: self.path("hub"), ..HubOptions::from_env() };
        let given = Some(self.path("given"));
        DataSource::with_places(given, self.path("data"), self.path("cache"), hub).unwrap()
    }

    fn locate(&self) -> Result<Located> {
        let entry = catalog::find("lcqmc").unwrap();
        self.source().locate(entry, entry.split(Split::Test).unwrap())
    }
}

#[test]
fn places_are_searched_in_order() {
    let places = Places::new();
    let snapshot = "hub/datasets--C-MTEB--LCQMC/snapshots/abc/data/test-00000-of-00001.parquet";
    places.put(snapshot);
    write_whole(&places.path("hub/datasets--C-MTEB--LCQMC/refs/main"), b"abc\n").unwrap();
    let found = places.locate().unwrap();
    assert_eq!(found.origin, Origin::Cache { revision: Some("abc".to_owned()) });
    assert_eq!(found.files[0].record, "hub:C-MTEB/LCQMC/data/test-00000-of-00001.parquet@abc");
    places.put("cache/LCQMC/test.txt");
    assert_eq!(places.locate().unwrap().origin, Origin::Cache { revision: None });
    places.put("data/LCQMC/LCQMC.test.data");
    assert_eq!(places.locate().unwrap().origin, Origin::ProjectData);
    places.put("given/C-MTEB/LCQMC/data/test-00000-of-00001.parquet");
    let found = places.locate().unwrap();
    assert_eq!(found.origin, Origin::DataDir);
    assert_eq!(found.files[0].record, "C-MTEB/LCQMC/data/test-00000-of-00001.parquet");
}

#[test]
fn what_is_here_is_told_without_reading_it() {
    let places = Places::new();
    let has = |name: &str| places.source().has(name, Split::Test);
    assert!(!has("lcqmc").unwrap() && !has("own.tsv").unwrap());
    // No reader accepts these bytes.
    write_whole(&places.path("data/LCQMC/LCQMC.test.data"), b"\xff").unwrap();
    write_whole(&places.path("given/own.tsv"), b"\xff").unwrap();
    assert!(has("lcqmc").unwrap() && has("own.tsv").unwrap() && has("sample").unwrap());
    assert!(!places.source().has("lcqmc", Split::Dev).unwrap(), "another split");
    assert!(has("lcqcm").is_err(), "a typing error is not a missing data set");
}

#[test]
fn an_incomplete_set_of_files_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    write_whole(&folder.path().join("a.csv"), b"x").unwrap();
    let patterns = ["a.csv".to_owned(), "b.csv".to_owned()];
    assert_eq!(expand(folder.path(), &patterns), None);
    assert_eq!(expand(folder.path(), &patterns[..1]).map(|found| found.len()), Some(1));
}

#[test]
fn what_is_nowhere_says_where_it_was_looked_for() {
    let error = Places::new().locate().unwrap_err().to_string();
    assert!(error.starts_with("data set lcqmc/test not found; looked in: the data folder "), "{error}");
    assert!(
        error.contains("HF_HUB_OFFLINE is set") && error.contains("; fix: put LCQMC/test.txt into"),
        "{error}"
    );
}

#[test]
fn a_folder_that_does_not_exist_is_an_error() {
    let error = DataSource::new(Some(PathBuf::from("no/such/folder"))).unwrap_err().to_string();
    assert!(error.starts_with("data folder no/such/folder not found"), "{error}");
    assert!(error.contains("; fix: correct --data-dir"), "{error}");
}

#[test]
fn own_files_are_recorded_without_paths_of_the_machine() {
    let places = Places::new();
    places.put("given/mine/own.tsv");
    places.put("elsewhere/other.tsv");
    let hub = HubOptions { offline: true, ..HubOptions::from_env() };
    let given = Some(places.path("given"));
    let source = DataSource::with_places(given, places.path("data"), places.path("cache"), hub).unwrap();
    let record = |path: &str| source.locate_own(path).unwrap().record;
    assert_eq!(record("mine/own.tsv"), "mine/own.tsv");
    assert_eq!(record(places.path("given/mine/own.tsv").to_str().unwrap()), "mine/own.tsv");
    assert_eq!(record(places.path("elsewhere/other.tsv").to_str().unwrap()), "other.tsv");
    assert!(
        source.locate_own("mine/none.tsv").unwrap_err().to_string().contains("file mine/none.tsv not found")
    );
}
