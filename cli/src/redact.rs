//! Links, codes and ids as they may be shown: without the keys in them, for people and for places where logs
//! are kept.

/// Prefixes of the codes that open an office.
const CODES: [&str; 2] = ["swarm-join:", "swarm-root:"];

/// Returns a link without its key, which may be shown.
pub(crate) fn without_key(text: &str) -> &str {
    text.split('#').next().unwrap_or_default()
}

/// Returns a text without the keys of the links in it.
pub(crate) fn without_keys(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        if let Some((scheme, at)) = CODES.iter().find_map(|scheme| Some((scheme, word.find(scheme)?))) {
            let (open, code) = word.split_at(at + scheme.len());
            let end = code.find(|c: char| !c.is_ascii_alphanumeric() && !"-_=".contains(c));
            shown.push_str(open);
            shown.push_str("...");
            shown.push_str(end.map_or("", |at| &code[at..]));
            continue;
        }
        let has_link = word.to_ascii_lowercase().contains("swarm:");
        match word.split_once('#').filter(|_| has_link) {
            Some((open, key)) => {
                shown.push_str(open);
                shown.push_str("#...");
                // What ends the word: quotes, colours, the space.
                let end = |c: char| !c.is_ascii_alphanumeric() && !"-_=".contains(c);
                shown.push_str(key.find(end).map_or("", |at| &key[at..]));
            }
            None => shown.push_str(word),
        }
    }
    shown
}

/// Returns the first digits of an id, enough for a person to tell ids apart.
pub(crate) fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_left_out_of_what_is_said() {
        for (said, shown) in [
            ("swarm get 'swarm:ab?x=1#key=Zm9v' -o x", "swarm get 'swarm:ab?x=1#...' -o x"),
            ("unexpected argument 'SWARM:ab#locked=Zm9v' found", "unexpected argument 'SWARM:ab#...' found"),
            ("swarm:ab#key=Zm9v\n# a heading", "swarm:ab#...\n# a heading"),
            ("a #hash and swarm: alone", "a #hash and swarm: alone"),
            ("swarm office join 'swarm-join:AfD_jqDF' --as x", "swarm office join 'swarm-join:...' --as x"),
            ("unexpected 'swarm-root:AAaa'", "unexpected 'swarm-root:...'"),
        ] {
            assert_eq!(without_keys(said), shown);
        }
    }
}
