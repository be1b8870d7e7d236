//! Models from the hub from end to end, against a small server on this machine that speaks the hub's protocol.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use simcse_data::{HubOptions, ModelFiles, ModelSource, Origin, sha256_hex};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{COMMIT, Host, Hosted, Server, options};
use tempfile::TempDir;

const NAME: &str = "owner/tiny-bert";
const OTHER_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// Bytes in which every place shows.
fn weights() -> Vec<u8> {
    (0..300_000_u32).flat_map(|number| number.to_le_bytes()).take(300_000).collect()
}

fn host() -> Host {
    let files = [
        ("README.md", Hosted::small("not wanted")),
        ("config.json", Hosted::small("{\"model_type\": \"bert\"}")),
        ("model.safetensors", Hosted::large(weights())),
        ("pytorch_model.bin", Hosted::large("not wanted beside safetensors")),
        ("tokenizer_config.json", Hosted::small("{}")),
        ("vocab.txt", Hosted::small("[PAD]\n[UNK]\n")),
        ("1_Pooling/config.json", Hosted::small("{\"pooling_mode_cls_token\": true}")),
    ];
    Host::new("models/owner/tiny-bert", &files)
}

struct Place {
    folder: TempDir,
    server: Server,
    options: HubOptions,
}

impl Place {
    fn new(host: Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(host);
        let options = options(folder.path(), &server.endpoint);
        Self { folder, server, options }
    }

    fn locate(&self, revision: Option<&str>) -> simcse_data::Result<ModelFiles> {
        ModelSource::with_hub(None, self.options.clone()).unwrap().locate(NAME, revision)
    }

    fn error(&self, revision: Option<&str>) -> String {
        let error = self.locate(revision).unwrap_err().to_string();
        assert!(error.contains("; fix: ") && !error.contains('\n'), "{error}");
        error
    }

    fn offline(&self, revision: Option<&str>) -> simcse_data::Result<ModelFiles> {
        let options = HubOptions { offline: true, ..self.options.clone() };
        ModelSource::with_hub(None, options).unwrap().locate(NAME, revision)
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("hub/models--owner--tiny-bert")
    }
}

fn names(found: &ModelFiles) -> Vec<String> {
    let strip = |path: &str| {
        let path = path.strip_prefix(&format!("hub:{NAME}/")).unwrap();
        path.split_once('@').unwrap().0.to_owned()
    };
    found.records.iter().map(|record| strip(&record.path)).collect()
}

#[test]
fn a_model_is_downloaded_once_and_then_taken_from_the_cache() {
    let place = Place::new(host());
    let found = place.locate(None).unwrap();
    assert_eq!(found.origin, Origin::Hub { revision: COMMIT.to_owned() });
    assert_eq!(found.revision.as_deref(), Some(COMMIT));
    let wanted =
        ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "1_Pooling/config.json"];
    assert_eq!(names(&found), wanted);
    assert_eq!(found.records[1].path, format!("hub:{NAME}/model.safetensors@{COMMIT}"));
    assert_eq!(found.records[1].sha256, sha256_hex(&weights()));
    assert_eq!(std::fs::read(found.folder.join("model.safetensors")).unwrap(), weights());
    let requests = place.server.requests().len();

    let again = place.locate(None).unwrap();
    assert_eq!(again.origin, Origin::Cache { revision: Some(COMMIT.to_owned()) });
    assert_eq!((&again.folder, &again.records), (&found.folder, &found.records));
    assert_eq!(place.locate(Some(COMMIT)).unwrap().records, found.records, "by its commit");
    assert_eq!(place.offline(None).unwrap().records, found.records);
    assert_eq!(place.server.requests().len(), requests, "the cache needs no request");
}

#[test]
fn a_branch_is_resolved_to_its_commit_and_files_are_asked_for_by_it() {
    let place = Place::new(host());
    place.server.change(|host| {
        host.branches = [("refs/pr/1", OTHER_COMMIT), (OTHER_COMMIT, OTHER_COMMIT)]
            .map(|(name, commit)| (name.to_owned(), commit.to_owned()))
            .into();
    });
    let found = place.locate(Some("refs/pr/1")).unwrap();
    assert_eq!(found.revision.as_deref(), Some(OTHER_COMMIT));
    let resolved = place.server.requests().into_iter().filter(|head| head.contains("/resolve/"));
    assert!(resolved.into_iter().all(|head| head.contains(&format!("/resolve/{OTHER_COMMIT}/"))));
    assert!(place.offline(None).is_err(), "main was not asked for");
    let requests = place.server.requests().len();
    assert_eq!(place.locate(Some("refs/pr/1")).unwrap().revision.as_deref(), Some(OTHER_COMMIT));
    assert_eq!(place.server.requests().len(), requests);
    assert_eq!(place.locate(Some("main")).unwrap().revision.as_deref(), Some(COMMIT));
}

#[test]
fn a_commit_that_is_pinned_is_downloaded_and_cached_as_such() {
    let place = Place::new(host());
    assert_eq!(place.locate(Some(COMMIT)).unwrap().revision.as_deref(), Some(COMMIT));
    assert!(place.server.requests()[0].contains(&format!("/revision/{COMMIT}?blobs=true")));
    assert!(place.offline(None).is_err(), "a commit is not a branch");
    let requests = place.server.requests().len();
    assert!(matches!(place.locate(Some(COMMIT)).unwrap().origin, Origin::Cache { .. }));
    assert_eq!(place.server.requests().len(), requests);
}

#[test]
fn a_broken_connection_is_resumed_in_the_same_call() {
    let place = Place::new(host());
    // Files come in the order: three small ones, then the weights.
    place.server.change(|host| host.breaks = vec![usize::MAX, usize::MAX, usize::MAX, 100_000, 50_000]);
    let found = place.locate(None).unwrap();
    assert_eq!(
        place.server.ranges("/storage/model.safetensors"),
        ["bytes=0-", "bytes=100000-", "bytes=150000-"]
    );
    assert_eq!(std::fs::read(found.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_connection_that_breaks_again_and_again_is_an_error_and_the_next_call_goes_on() {
    let place = Place::new(host());
    place.server.change(|host| host.breaks = [vec![usize::MAX; 3], vec![10_000; 5]].concat());
    let error = place.error(None);
    assert!(error.contains("owner/tiny-bert/model.safetensors: broke off 5 times ("), "{error}");
    assert!(place.offline(None).is_err(), "what is not complete is not taken");
    let found = place.locate(None).unwrap();
    assert_eq!(place.server.ranges("/storage/model.safetensors").last().unwrap(), "bytes=50000-");
    assert_eq!(std::fs::read(found.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_part_that_is_whole_but_not_renamed_does_no_harm() {
    let place = Place::new(host());
    let blobs = place.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.part", sha256_hex(&weights()))), weights()).unwrap();
    let found = place.locate(None).unwrap();
    assert_eq!(std::fs::read(found.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn two_runs_at_once_download_once() {
    let place = Place::new(Host { pause: Duration::from_millis(100), ..host() });
    let found: Vec<ModelFiles> = std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| place.locate(None).unwrap()));
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(found[0].records, found[1].records);
    assert_eq!(place.server.ranges("/storage/model.safetensors"), ["bytes=0-"]);
}

#[test]
fn a_private_model_needs_the_token() {
    let mut place = Place::new(Host { token: Some("secret".to_owned()), ..host() });
    let error = place.error(None);
    assert!(
        error.contains("status 401 for model owner/tiny-bert: it is private or does not exist"),
        "{error}"
    );
    assert!(error.ends_with("fix: check the name; if it is private, set HF_TOKEN"), "{error}");
    place.options.token = Some("wrong".to_owned());
    assert!(place.error(None).contains("use a token (HF_TOKEN) of an account that may read it"));
    place.options.token = Some("secret".to_owned());
    assert!(place.locate(None).is_ok());
}

#[test]
fn terms_that_were_not_accepted_are_named() {
    let place = Place::new(Host { refuse_files: Some(403), ..host() });
    let error = place.error(None);
    assert!(error.contains("status 403 for model owner/tiny-bert; fix: accept its terms"), "{error}");
    assert_eq!(place.server.requests().len(), 2, "it is not tried again");
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let place = Place::new(Host::default());
    let error = place.error(None);
    assert!(error.contains("no model owner/tiny-bert; fix: check the name"), "{error}");
    let place = Place::new(host());
    let error = place.error(Some("v9"));
    assert!(error.contains("no revision v9 of model owner/tiny-bert; fix: name a branch"), "{error}");
    assert!(place.error(Some("../../etc")).contains("`../../etc` is no revision"));
    place.server.change(|host| host.files.retain(|name, _| !name.contains("model.")));
    let error = place.error(None);
    assert!(error.contains("model owner/tiny-bert has no weights (model.safetensors, "), "{error}");
    place.server.change(|host| drop(host.files.remove("config.json")));
    assert!(place.error(None).contains("has no config.json at main"));
    assert!(!place.repository().join("snapshots").exists(), "nothing was fetched");
}

#[test]
fn offline_asks_nobody() {
    let place = Place::new(host());
    let error = place.offline(None).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE is set and model owner/tiny-bert is not in the cache"), "{error}");
    assert!(place.server.requests().is_empty());
}

fn assert_wrong_hash(file: &str, wrong: &str, plain_list: bool) {
    let place = Place::new(Host { plain_list, ..host() });
    place.server.change(|host| host.files.get_mut(file).unwrap().hash = Some(wrong.to_owned()));
    let error = place.error(None);
    assert!(error.contains(&format!("owner/tiny-bert/{file}: its hash is ")), "{error}");
    assert!(error.contains(&format!(", not {wrong}; fix: try again")), "{error}");
    assert!(!place.repository().join("snapshots").join(COMMIT).join(file).exists());
    assert!(!place.repository().join("blobs").join(wrong).exists());
    place.server.change(|host| host.files.get_mut(file).unwrap().hash = None);
    assert!(place.locate(None).is_ok(), "the next call fetches it afresh");
}

#[test]
fn a_file_with_a_wrong_hash_is_removed() {
    assert_wrong_hash("model.safetensors", &"ab".repeat(32), false);
    assert_wrong_hash("vocab.txt", &"cd".repeat(20), false);
}

#[test]
fn a_download_that_was_cut_short_is_never_taken_for_a_model_with_fewer_files() {
    let wanted = ["config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json"];
    for file in wanted {
        let place = Place::new(host());
        place.server.change(|host| host.files.get_mut(file).unwrap().hash = Some("0".repeat(64)));
        place.error(Some(COMMIT));
        assert!(place.offline(Some(COMMIT)).is_err(), "without {file}");
        place.server.change(|host| host.files.get_mut(file).unwrap().hash = None);
        assert_eq!(place.locate(Some(COMMIT)).unwrap().records.len(), 5, "with {file}");
    }
}

#[test]
fn where_the_list_has_no_hashes_the_headers_are_checked() {
    assert_wrong_hash("model.safetensors", &"ab".repeat(32), true);
}

#[test]
fn damage_in_the_cache_is_noticed() {
    let place = Place::new(host());
    let found = place.locate(None).unwrap();
    std::fs::write(found.folder.join("model.safetensors"), "cut short").unwrap();
    let error = place.error(None);
    assert!(
        error.contains("model.safetensors: damaged: its SHA-256 is ") && error.contains("fix: delete"),
        "{error}"
    );
}

fn index(shards: &[&str]) -> Hosted {
    let entries: Vec<String> =
        shards.iter().enumerate().map(|(at, shard)| format!("\"layer.{at}\": \"{shard}\"")).collect();
    Hosted::small(format!("{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}", entries.join(", ")))
}

fn sharded(index_name: &str, shards: &[&str]) -> Host {
    let mut host = host();
    host.files.retain(|name, _| !name.contains("model."));
    host.files.insert(index_name.to_owned(), index(shards));
    for shard in shards {
        host.files.insert((*shard).to_owned(), Hosted::large(format!("bytes of {shard}")));
    }
    host
}

#[test]
fn all_shards_of_an_index_are_fetched() {
    let names_of = ["model.safetensors", "pytorch_model.bin"].map(|name| {
        let (stem, extension) = name.split_once('.').unwrap();
        let shards = [1, 2].map(|at| format!("{stem}-0000{at}-of-00002.{extension}"));
        (format!("{name}.index.json"), shards)
    });
    for (index_name, [first, second]) in names_of {
        let place = Place::new(sharded(&index_name, &[&second, &first, &second]));
        let found = place.locate(None).unwrap();
        assert_eq!(names(&found)[..4], ["config.json", &index_name, &first, &second]);
        assert_eq!(std::fs::read_to_string(found.folder.join(&first)).unwrap(), format!("bytes of {first}"));
        assert_eq!(place.offline(None).unwrap().records, found.records);
        std::fs::remove_file(found.folder.join(&first)).unwrap();
        assert!(place.offline(None).is_err(), "without a shard it is not complete");
        assert_eq!(place.locate(None).unwrap().records, found.records, "the shard is fetched again");
    }
}

#[test]
fn an_index_that_names_what_is_not_there_is_an_error() {
    let place = Place::new(sharded("model.safetensors.index.json", &["a.safetensors"]));
    place.server.change(|host| drop(host.files.remove("a.safetensors")));
    assert!(place.error(None).contains("model owner/tiny-bert has no file a.safetensors"));
    let place = Place::new(sharded("model.safetensors.index.json", &["../../a.safetensors"]));
    place.server.change(|host| drop(host.files.remove("../../a.safetensors")));
    let error = place.error(None);
    assert!(error.contains("shard \"../../a.safetensors\" is outside of the folder"), "{error}");
}

#[test]
fn a_list_that_leaves_the_cache_is_no_answer_of_a_hub() {
    let place = Place::new(Host::new("models/owner/tiny-bert", &[("../evil", Hosted::small("x"))]));
    assert!(place.error(None).contains("\"../evil\" is no name of a file"));
}

fn put(folder: &Path, files: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    for file in files {
        std::fs::write(folder.join(file), file).unwrap();
    }
}

#[test]
fn folders_come_before_the_hub() {
    let place = Place::new(host());
    let models = place.folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let source = ModelSource::with_hub(Some(models.clone()), place.options.clone()).unwrap();
    for folder in ["tiny-bert", "owner/tiny-bert"] {
        put(&models.join(folder), &["config.json", "pytorch_model.bin", "vocab.txt"]);
        let found = source.locate(NAME, None).unwrap();
        assert_eq!((&found.folder, &found.origin), (&models.join(folder), &Origin::ModelDir));
        assert_eq!(found.revision, None);
    }
    let given = place.folder.path().join("given");
    put(&given, &["config.json", "pytorch_model.bin", "model.safetensors"]);
    let found = source.locate(given.to_str().unwrap(), None).unwrap();
    assert_eq!(found.origin, Origin::OwnFile);
    let records: Vec<&str> = found.records.iter().map(|record| record.path.as_str()).collect();
    assert_eq!(records, ["config.json", "model.safetensors"], "no path of the machine");
    assert_eq!(found.records[0].sha256, sha256_hex(b"config.json"));
    assert!(place.server.requests().is_empty());
}

#[test]
fn a_folder_that_lacks_a_file_is_an_error_and_so_is_a_name_that_is_nowhere() {
    let place = Place::new(host());
    let models = place.folder.path().join("models");
    put(&models.join("bert"), &["config.json"]);
    let source = ModelSource::with_hub(Some(models.clone()), place.options.clone()).unwrap();
    let error = |name: &str| source.locate(name, None).unwrap_err().to_string();
    assert!(error("bert").starts_with("weights (model.safetensors, "), "{}", error("bert"));
    assert!(error("bert").contains("of model bert not found; looked in: "), "{}", error("bert"));
    let index = "{\"weight_map\": {\"a\": \"one.safetensors\"}}";
    std::fs::write(models.join("bert/model.safetensors.index.json"), index).unwrap();
    assert!(
        error("bert").starts_with("one.safetensors (named by model.safetensors.index.json) of model bert")
    );
    let missing = error("bart");
    assert!(missing.starts_with("model bart not found; looked in: the working folder, the model folder "));
    assert!(missing.contains("fix: give a folder, or the name of a model on the hub"), "{missing}");
    assert!(ModelSource::with_hub(Some(models.join("none")), place.options.clone()).is_err());
    assert!(place.server.requests().is_empty());
}
