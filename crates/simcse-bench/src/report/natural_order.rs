//! The order in which people expect labels: `dropout .05` before `dropout .1` before `dropout 2`.

/// A piece of a label.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    /// A number of 0 or more, by its bits: those of non-negative floats are in the order of their values.
    Number(u64),
    /// Anything else.
    Text(String),
}

/// Key to sort labels by.
pub(super) fn natural_key(label: &str) -> Vec<Piece> {
    let characters: Vec<char> = label.chars().collect();
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < characters.len() {
        let in_number = starts_number(&characters[start..]);
        let mut end = start + 1;
        while end < characters.len() && starts_number(&characters[end..]) == in_number {
            end += 1;
        }
        let text: String = characters[start..end].iter().collect();
        let number = if in_number { format!("0{text}").parse::<f64>().ok() } else { None };
        pieces.push(number.map_or(Piece::Text(text), |number| Piece::Number(number.to_bits())));
        start = end;
    }
    pieces
}

fn starts_number(rest: &[char]) -> bool {
    rest[0].is_ascii_digit() || (rest[0] == '.' && rest.get(1).is_some_and(char::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut labels =
            ["maps 128", "dropout 2", "dropout .1", "dropout 0.05", "dropout 0", "maps 64", "dropout"];
        labels.sort_by_key(|label| natural_key(label));
        assert_eq!(
            labels,
            ["dropout", "dropout 0", "dropout 0.05", "dropout .1", "dropout 2", "maps 64", "maps 128"]
        );
    }
}
