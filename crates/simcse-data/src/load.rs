//! Loading data sets by name or path.

use crate::catalog::{self, CatalogEntry, FileEntry, SplitEntry};
use crate::error::{DataError, Result};
use crate::files::sha256_hex;
use crate::formats::{self, Format, Parsed, ReadOptions, Rows};
use crate::read::{read_file, read_senteval};
use crate::rows::{NliPair, ScoredPair, Split, Triplet};
use crate::sample;
use crate::source::{DataSource, FileRecord, Origin};
use crate::text::sentence_key;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Rows of one kind with all that a record needs to know of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSet<T> {
    /// Name in the catalogue, `sample`, or the path as given.
    pub name: String,
    /// Which part.
    pub split: Split,
    /// All rows, subset after subset.
    pub rows: Vec<T>,
    /// Subsets that are scored apart (SentEval); others have a single one named like the data set.
    pub subsets: Vec<Subset>,
    /// The files read.
    pub files: Vec<FileRecord>,
    /// Where they were found.
    pub origin: Origin,
    /// What was dropped, differs from the catalogue or is unusual, one line each.
    pub remarks: Vec<String>,
}

/// A named part of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// Name (`MSRpar`).
    pub name: String,
    /// Its rows.
    pub rows: Range<usize>,
}

/// Scored pairs.
pub type PairSet = DataSet<ScoredPair>;
/// Triplets.
pub type TripletSet = DataSet<Triplet>;
/// Labelled NLI pairs.
pub type NliSet = DataSet<NliPair>;
/// Sentences.
pub type SentenceSet = DataSet<String>;

impl<T> DataSet<T> {
    /// The rows by subset.
    pub fn by_subset(&self) -> impl Iterator<Item = (&str, &[T])> {
        self.subsets.iter().map(|subset| (subset.name.as_str(), &self.rows[subset.rows.clone()]))
    }

    fn replace_rows<U>(self, rows: Vec<U>, subsets: Vec<Subset>) -> DataSet<U> {
        let Self { name, split, files, origin, remarks, .. } = self;
        DataSet { name, split, rows, subsets, files, origin, remarks }
    }
}

impl PairSet {
    /// All pairs.
    pub fn pairs(&self) -> &[ScoredPair] {
        &self.rows
    }
}

/// The name of the bundled sample.
pub(crate) const SAMPLE: &str = "sample";

/// Scored pairs of a named data set, of `sample`, or of a file by path.
///
/// # Errors
/// [`DataError::Missing`] if it is nowhere, [`DataError::WrongKind`] if it holds no scored pairs, and what
/// the readers return.
pub fn load_pairs(source: &DataSource, name: &str, split: Split) -> Result<PairSet> {
    let mut set = load(source, name, split, |rows| match rows {
        Rows::Pairs(pairs) => Ok(pairs),
        other => Err((other.kind(), "scored pairs")),
    })?;
    remark_on_repeats(&set.rows, &mut set.remarks);
    Ok(set)
}

/// Triplets of a named data set or of a file by path.
///
/// # Errors
/// As [`load_pairs`], for triplets.
pub fn load_triplets(source: &DataSource, name: &str, split: Split) -> Result<TripletSet> {
    load(source, name, split, |rows| match rows {
        Rows::Triplets(triplets) => Ok(triplets),
        other => Err((other.kind(), "triplets")),
    })
}

/// Labelled NLI pairs of a named data set or of a file by path.
///
/// # Errors
/// As [`load_pairs`], for labelled NLI pairs.
pub fn load_nli(source: &DataSource, name: &str, split: Split) -> Result<NliSet> {
    load(source, name, split, |rows| match rows {
        Rows::Nli(pairs) => Ok(pairs),
        other => Err((other.kind(), "labelled NLI pairs")),
    })
}

/// The sentences of any data set, in the order of the file, repeats included.
///
/// # Errors
/// As [`load_pairs`], but every kind has sentences.
pub fn load_sentences(source: &DataSource, name: &str, split: Split) -> Result<SentenceSet> {
    load(source, name, split, |rows| Ok(sentences_of(rows)))
}

/// What could not be used: what was found, what was wanted.
type Mismatch = (&'static str, &'static str);

fn load<T>(
    source: &DataSource,
    name: &str,
    split: Split,
    select: impl FnOnce(Rows) -> std::result::Result<Vec<T>, Mismatch>,
) -> Result<DataSet<T>> {
    let loaded = if name == SAMPLE {
        load_sample(split)?
    } else if let Ok(entry) = catalog::find(name) {
        load_named(source, entry, split)?
    } else if Path::new(name).extension().is_some() {
        load_own(source, name, split)?
    } else {
        return Err(catalog::find(name).err().unwrap_or_else(|| DataError::Empty { file: name.to_owned() }));
    };
    let Loaded { rows, subsets, set } = loaded;
    let wrong = |(found, wanted)| DataError::WrongKind { name: format!("{name}/{split}"), found, wanted };
    let rows = select(rows).map_err(wrong)?;
    Ok(set.replace_rows(rows, subsets))
}

/// Rows of any kind, and the data set without them.
struct Loaded {
    rows: Rows,
    subsets: Vec<Subset>,
    set: DataSet<()>,
}

fn loaded(
    name: &str,
    split: Split,
    rows: Rows,
    files: Vec<FileRecord>,
    origin: Origin,
    remarks: Vec<String>,
) -> Loaded {
    let subsets = vec![Subset { name: name.to_owned(), rows: 0..rows.len() }];
    let set = DataSet {
        name: name.to_owned(),
        split,
        rows: Vec::new(),
        subsets: Vec::new(),
        files,
        origin,
        remarks,
    };
    Loaded { rows, subsets, set }
}

/// Train is the sample's sentences, dev and test its pairs.
fn load_sample(split: Split) -> Result<Loaded> {
    let rows = match split {
        Split::Train => Rows::Sentences(sample::sentences()),
        Split::Dev | Split::Test => Rows::Pairs(sample::pairs(split)),
    };
    let text = match &rows {
        Rows::Pairs(pairs) => {
            pairs.iter().map(|pair| format!("{}\t{}\t{}\n", pair.first, pair.second, pair.score)).collect()
        }
        rows => sentences_of(rows.clone()).join("\n"),
    };
    let path = format!("sample:{split}");
    let (sha256, bytes) = (sha256_hex(text.as_bytes()), text.len() as u64);
    let file = FileRecord { path, sha256, bytes, rows: rows.len() };
    let remarks = vec!["bundled sample, not a real data set".to_owned()];
    Ok(loaded(SAMPLE, split, rows, vec![file], Origin::Sample, remarks))
}

fn load_own(source: &DataSource, name: &str, split: Split) -> Result<Loaded> {
    let file = source.locate_own(name)?;
    let (parsed, record) = read_file(&file, None, ReadOptions::default())?;
    Ok(loaded(name, split, parsed.rows, vec![record], Origin::OwnFile, parsed.remarks))
}

fn load_named(source: &DataSource, entry: &'static CatalogEntry, split: Split) -> Result<Loaded> {
    let split_entry = entry.split(split)?;
    let located = source.locate(entry, split_entry)?;
    let options = ReadOptions {
        scale: entry.scale,
        drop_sentence: located.entry.drop_sentence.as_deref(),
        cut_last_line: located.entry.cut_last_line,
    };
    let mut total = Total { name: &entry.name, ..Total::default() };
    for file in &located.files {
        if located.entry.format == Format::Senteval {
            for subset in &located.entry.subsets {
                let (parsed, records) = read_senteval(file, subset, options)?;
                total.add(Some(subset), parsed, records)?;
            }
        } else {
            let (parsed, record) = read_file(file, Some(located.entry.format), options)?;
            total.add(None, parsed, vec![record])?;
        }
    }
    let rows = total.rows.unwrap_or(Rows::Sentences(Vec::new()));
    let mut remarks = total.remarks;
    remarks.extend(located.entry.note.clone());
    remarks.extend(count_remark(located.entry, split_entry, rows.len(), total.dropped));
    let mut result = loaded(&entry.name, split, rows, total.files, located.origin, remarks);
    if !total.subsets.is_empty() {
        result.subsets = total.subsets;
    }
    Ok(result)
}

/// What several files add up to.
#[derive(Default)]
struct Total<'a> {
    name: &'a str,
    rows: Option<Rows>,
    dropped: usize,
    subsets: Vec<Subset>,
    files: Vec<FileRecord>,
    remarks: Vec<String>,
}

impl Total<'_> {
    fn add(&mut self, subset: Option<&str>, parsed: Parsed, records: Vec<FileRecord>) -> Result<()> {
        let start = self.rows.as_ref().map_or(0, Rows::len);
        let (found, count) = (parsed.rows.kind(), parsed.rows.len());
        match &mut self.rows {
            None => self.rows = Some(parsed.rows),
            Some(rows) => {
                let wanted = rows.kind();
                let name = self.name.to_owned();
                rows.append(parsed.rows).map_err(|_| DataError::WrongKind { name, found, wanted })?;
            }
        }
        if let Some(subset) = subset {
            self.subsets.push(Subset { name: subset.to_owned(), rows: start..start + count });
        }
        self.dropped += parsed.dropped;
        let place = subset.map(str::to_owned).or_else(|| records.first().map(|record| record.path.clone()));
        let place = place.unwrap_or_default();
        self.remarks.extend(parsed.remarks.iter().map(|remark| format!("{place}: {remark}")));
        self.files.extend(records);
        Ok(())
    }
}

/// A line if the counts differ from the catalogue's.
fn count_remark(file: &FileEntry, split: &SplitEntry, kept: usize, dropped: usize) -> Option<String> {
    if file.format == Format::Senteval {
        let expected = split.rows?;
        return (kept != expected).then(|| format!("{kept} scored pairs, the catalogue says {expected}"));
    }
    let expected = file.rows.or(split.rows)?;
    let read = kept + dropped;
    if read != expected {
        return Some(format!("{read} rows, the catalogue says {expected}"));
    }
    // Copies that leave nothing out by themselves (parquet of the hub) carry no marker to drop by.
    (file.drop_sentence.is_some() && dropped != split.dropped)
        .then(|| format!("{dropped} rows dropped, the catalogue says {}", split.dropped))
}

fn sentences_of(rows: Rows) -> Vec<String> {
    match rows {
        Rows::Pairs(pairs) => pairs.into_iter().flat_map(|pair| [pair.first, pair.second]).collect(),
        Rows::UnlabelledPairs(pairs) => {
            pairs.into_iter().flat_map(|(first, second)| [first, second]).collect()
        }
        Rows::Sentences(sentences) => sentences,
        Rows::Nli(pairs) => pairs.into_iter().flat_map(|pair| [pair.premise, pair.hypothesis]).collect(),
        Rows::Triplets(triplets) => triplets
            .into_iter()
            .flat_map(|triplet| [Some(triplet.anchor), Some(triplet.positive), triplet.hard_negative])
            .flatten()
            .collect(),
    }
}

/// Remarks on pairs that stand several times, with the same or with different scores, and on empty sentences.
fn remark_on_repeats(pairs: &[ScoredPair], remarks: &mut Vec<String>) {
    let mut scores: BTreeMap<(String, String), Vec<f32>> = BTreeMap::new();
    for pair in pairs {
        let key = (sentence_key(&pair.first), sentence_key(&pair.second));
        scores.entry(key).or_default().push(pair.score);
    }
    let repeats: usize = scores.values().map(|scores| scores.len() - 1).sum();
    let conflicts = scores.values().filter(|scores| scores.iter().any(|score| *score != scores[0])).count();
    let empty = pairs.iter().filter(|pair| pair.first.is_empty() || pair.second.is_empty()).count();
    formats::remark(remarks, repeats, "rows repeat a pair that stood before (kept)");
    formats::remark(remarks, conflicts, "pairs stand several times with different scores (kept)");
    formats::remark(remarks, empty, "pairs have an empty sentence (kept)");
}
