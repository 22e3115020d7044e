//! What is not for everybody to see: links with keys, and passwords. Both can come another way than in the arguments of the
//! program, which every user of the machine can read.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use swarm_core::content::link::{Link, LinkError, Target};
use swarm_core::content::share::{Fragment, Hidden, unlock};
use swarm_core::limits::PASSWORD_BYTES;
use zeroize::{Zeroize as _, Zeroizing};

use crate::args;
use crate::exit::{Code, Failed};
use crate::ui::Ui;

/// Holds a password for programs that cannot be asked.
const VARIABLE: &str = "SWARM_PASSWORD";
/// In place of an id or a link: it is read from standard input.
const STDIN: &str = "-";

/// What is to be fetched, as a node is asked for it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The whole of it, with the key if there is one.
    pub(crate) target: Hidden,
    /// To be shown, and in JSON: without a key.
    pub(crate) shown: String,
    /// What it may be called before its holders have said what it is.
    pub(crate) name: String,
}

impl Asked {
    /// Reads an id or a link, asking for a password if it is locked with one.
    ///
    /// # Errors
    /// It is none, or the password is not right.
    pub(crate) fn read(ui: &Ui, text: &Hidden, secret: &args::Secret) -> Result<Self, Failed> {
        let shown = without_key(text.expose()).to_owned();
        let parsed = parse(text.expose())?;
        let name = match &parsed {
            Target::Link(Link { name: Some(name), .. }) => name.clone(),
            Target::Link(link) => link.id.short(),
            Target::Id(id) => id.short(),
            Target::Prefix(prefix) => crate::commands::short(prefix).to_owned(),
        };
        let target = match parsed {
            Target::Link(link) => unlocked(ui, link, secret)?.to_string().into(),
            Target::Id(_) | Target::Prefix(_) => text.clone(),
        };
        Ok(Self { target, shown, name })
    }

    /// The same without its key: whoever is handed this can hold the content and not read it.
    ///
    /// # Errors
    /// It is no id and no link.
    pub(crate) fn blind(text: &Hidden) -> Result<Self, Failed> {
        let shown = without_key(text.expose());
        let name = match parse(text.expose())? {
            Target::Link(link) => link.id.short(),
            Target::Id(id) => id.short(),
            Target::Prefix(prefix) => prefix,
        };
        Ok(Self { target: shown.into(), shown: shown.to_owned(), name })
    }
}

/// The ids and links of the arguments; what stands for standard input becomes its lines.
///
/// # Errors
/// Standard input cannot be read, or has none.
pub(crate) fn given(texts: &[String]) -> Result<Vec<Hidden>, Failed> {
    let mut all = Vec::new();
    for text in texts {
        if text != STDIN {
            all.push(Hidden::from(text.as_str()));
            continue;
        }
        for line in io::stdin().lock().lines() {
            let failed = |e| Failed::new(Code::User, format!("cannot read standard input: {e}"));
            let line = Zeroizing::new(line.map_err(failed)?);
            if !line.trim().is_empty() {
                all.push(Hidden::from(line.trim()));
            }
        }
    }
    if all.is_empty() {
        return Err(Failed::new(Code::User, "there is no id or link on standard input"));
    }
    Ok(all)
}

/// The same for a command that takes one.
///
/// # Errors
/// As [`given`], or there are several.
pub(crate) fn given_one(text: &str) -> Result<Hidden, Failed> {
    let mut all = given(&[text.to_owned()])?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(Failed::new(Code::User, "only one thing at a time")),
    }
}

/// What begins so opens an office.
const CODES: [&str; 2] = ["swarm-join:", "swarm-root:"];

/// The part of a link that everybody may see.
pub(crate) fn without_key(text: &str) -> &str {
    text.split('#').next().unwrap_or_default()
}

/// A text that may have links in it, without their keys: for what goes where logs are kept.
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

fn parse(text: &str) -> Result<Target, Failed> {
    text.parse().map_err(|error: LinkError| Failed::new(Code::User, error.to_string()).hint("swarm ls"))
}

fn unlocked(ui: &Ui, link: Link, secret: &args::Secret) -> Result<Link, Failed> {
    let Some(Fragment::Locked(locked)) = &link.fragment else { return Ok(link) };
    let password = password(ui, secret, "password of the link: ")?;
    let key = unlock(locked, link.id, password.expose());
    let key = key.map_err(|error| Failed::new(Code::User, error.to_string()))?;
    Ok(Link { fragment: Some(Fragment::Key(key)), ..link })
}

/// A new password: typed twice, if it is typed.
///
/// # Errors
/// There is none.
pub(crate) fn new_password(ui: &Ui, secret: &args::Secret) -> Result<Hidden, Failed> {
    if let Some(password) = silent(secret)? {
        return Ok(password);
    }
    let first = typed(ui, "new password: ")?;
    if typed(ui, "the same again: ")? != first {
        return Err(Failed::new(Code::User, "the two are not the same"));
    }
    Ok(first)
}

/// A password that was chosen before.
///
/// # Errors
/// There is none.
pub(crate) fn password(ui: &Ui, secret: &args::Secret, prompt: &str) -> Result<Hidden, Failed> {
    match silent(secret)? {
        Some(password) => Ok(password),
        None => typed(ui, prompt),
    }
}

/// Without asking: from the file, or the environment.
fn silent(secret: &args::Secret) -> Result<Option<Hidden>, Failed> {
    if let Some(path) = &secret.password_file {
        return from_file(path).map(Some);
    }
    match std::env::var(VARIABLE) {
        Ok(password) => fit(password).map(Some),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failed::new(Code::User, format!("{VARIABLE} is not UTF-8")))
        }
    }
}

fn from_file(path: &Path) -> Result<Hidden, Failed> {
    let mut text = Zeroizing::new(String::new());
    let most = PASSWORD_BYTES as u64 + 2;
    let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
    read.map_err(|error| Failed::io("read the password in", path, &error))?;
    // Editors end a file with a line.
    fit(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn typed(ui: &Ui, prompt: &str) -> Result<Hidden, Failed> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let failed = Failed::new(Code::User, "a password is needed, and nobody is there to be asked");
        return Err(failed.hint(format!("--password-file PATH, or {VARIABLE} in the environment")));
    }
    let typed = ui.ask_secretly(prompt);
    fit(typed.map_err(|error| Failed::new(Code::User, format!("cannot read the password: {error}")))?)
}

fn fit(mut password: String) -> Result<Hidden, Failed> {
    if (1..=PASSWORD_BYTES).contains(&password.len()) {
        return Ok(password.into());
    }
    password.zeroize();
    Err(Failed::new(Code::User, format!("a password has 1 to {PASSWORD_BYTES} bytes")))
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
