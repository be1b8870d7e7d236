//! Which of the listed files are wanted.

/// All names that match, pattern by pattern, in the order of the alphabet; `None` if a pattern has none.
pub(crate) fn select<'a>(names: &[&'a str], patterns: &[String]) -> Option<Vec<&'a str>> {
    let mut selected = Vec::new();
    for pattern in patterns {
        let mut matching: Vec<&str> = names.iter().copied().filter(|name| matches(pattern, name)).collect();
        if matching.is_empty() {
            return None;
        }
        matching.sort_unstable();
        selected.extend(matching);
    }
    Some(selected)
}

/// Whether `name` follows `pattern`, where `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("data/test-*.parquet", "data/test-00000-of-00001-ab.parquet"));
        assert!(!matches("data/test-*.parquet", "data/train-00000-of-00001.parquet"));
        assert!(matches("a*b*c", "abbc") && !matches("a*b*c", "acb"));
        assert!(matches("test.txt", "test.txt") && !matches("test.txt", "test.txt.gz"));
    }

    #[test]
    fn every_pattern_needs_a_file() {
        let names = ["b-1.csv", "b-0.csv", "a.csv"];
        let patterns = |list: &[&str]| list.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            select(&names, &patterns(&["b-*.csv", "a.csv"])),
            Some(vec!["b-0.csv", "b-1.csv", "a.csv"])
        );
        assert_eq!(select(&names, &patterns(&["a.csv", "c.csv"])), None);
    }
}
