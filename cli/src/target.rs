//! Ids and links as arguments: read, checked before a node is started for them, and unlocked where a password
//! locks them.

use std::io::{self, BufRead as _};

use swarm_core::content::link::{Link, LinkError, Target};
use swarm_core::content::share::{Fragment, Hidden, unlock};
use zeroize::Zeroizing;

use crate::args;
use crate::exit::{Code, Failed};
use crate::password::password;
use crate::redact::{short, without_key};
use crate::ui::Ui;

/// Argument that stands for ids or links on standard input.
const STDIN: &str = "-";

/// A target to fetch.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The whole target, with the key if there is one.
    pub(crate) target: Hidden,
    /// The target without its key, for the screen and for JSON.
    pub(crate) shown: String,
    /// A name for it until its sources have given the real one.
    pub(crate) name: String,
}

impl Asked {
    /// Reads an id or a link, asking for a password if it is locked with one.
    ///
    /// # Errors
    /// The text is neither an id nor a link, or the password is wrong.
    pub(crate) fn read(ui: &Ui, text: &Hidden, secret: &args::Secret) -> Result<Self, Failed> {
        let shown = without_key(text.expose()).to_owned();
        let parsed = parse(text.expose())?;
        let name = match &parsed {
            Target::Link(Link { name: Some(name), .. }) => name.clone(),
            Target::Link(link) => link.id.short(),
            Target::Id(id) => id.short(),
            Target::Prefix(prefix) => short(prefix).to_owned(),
        };
        let target = match parsed {
            Target::Link(link) => unlocked(ui, link, secret)?.to_string().into(),
            Target::Id(_) | Target::Prefix(_) => text.clone(),
        };
        Ok(Self { target, shown, name })
    }

    /// Reads an id or a link and drops its key: a node can then hold the content, but not read it.
    ///
    /// # Errors
    /// The text is neither an id nor a link.
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

/// Returns the ids and links of the arguments. The lines of standard input replace the argument that stands
/// for it.
///
/// # Errors
/// Standard input cannot be read, or holds no id or link.
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
        return Err(Failed::new(Code::User, "no id or link on standard input"));
    }
    Ok(all)
}

/// Returns the id or link of a command that takes exactly one.
///
/// # Errors
/// Those of [`given`], or several are given.
pub(crate) fn given_one(text: &str) -> Result<Hidden, Failed> {
    let mut all = given(&[text.to_owned()])?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(Failed::new(Code::User, "only one id or link at a time")),
    }
}

/// Reads an id, the first digits of one, or a link.
///
/// # Errors
/// The text is none of them.
pub(crate) fn parse(text: &str) -> Result<Target, Failed> {
    text.parse().map_err(|error: LinkError| {
        Failed::new(Code::User, error.to_string()).hint("swarm ls lists the ids in this store")
    })
}

/// Reads the id, or its first digits, of an item of the store.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn item(text: &str) -> Result<String, Failed> {
    Ok(match parse(text)? {
        Target::Link(link) => link.id.to_string(),
        Target::Id(id) => id.to_string(),
        Target::Prefix(prefix) => prefix,
    })
}

fn unlocked(ui: &Ui, link: Link, secret: &args::Secret) -> Result<Link, Failed> {
    let Some(Fragment::Locked(locked)) = &link.fragment else { return Ok(link) };
    let password = password(ui, secret, "password of this link: ")?;
    let key = unlock(locked, link.id, password.expose());
    let key = key.map_err(|error| Failed::new(Code::User, error.to_string()))?;
    Ok(Link { fragment: Some(Fragment::Key(key)), ..link })
}
