//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate with the smallest edit distance, when that is small against the word's length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(edits, _)| edits <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or the whole list when nothing is near.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = nearest(word, candidates.clone()) {
        return format!("; did you mean `{candidate}`?");
    }
    let all: Vec<_> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    if all.is_empty() {
        return String::new();
    }
    format!("; known: {}", all.join(", "))
}

/// Levenshtein distance over characters; one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        for (a, b, edits) in [("", "abc", 3), ("kitten", "sitting", 3), ("lr", "lr", 0), ("steps", "step", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["temperature", "top_p", "top_k", "group_size"];
        for (word, expected) in [
            ("temprature", Some("temperature")),
            ("top-p", Some("top_p")),
            ("groupsize", Some("group_size")),
            ("learning_rate", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
