//! Notices for people: equal ones are shown once, with their number.

/// Merges equal sentences into one with their number, and keeps the order.
pub(crate) fn counted(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut counted: Vec<(String, u64)> = Vec::new();
    for text in all {
        match counted.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => counted.push((text, 1)),
        }
    }
    let row = |(text, count)| if count == 1 { text } else { format!("{text} ({count} times)") };
    counted.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_notices_are_said_once_with_their_number() {
        assert_eq!(counted(["x", "y", "x"].map(ToOwned::to_owned)), ["x (2 times)", "y"]);
    }
}
