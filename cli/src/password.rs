//! Passwords: from a file, from the environment, or typed. Never from the arguments of the program, which
//! every user of the machine can read.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use swarm_core::content::share::Hidden;
use swarm_core::limits::PASSWORD_BYTES;
use zeroize::{Zeroize as _, Zeroizing};

use crate::args;
use crate::exit::{Code, Failed};
use crate::ui::Ui;

/// Environment variable that holds a password, for programs that cannot be asked.
const VARIABLE: &str = "SWARM_PASSWORD";

/// Returns a new password. It is typed twice, if it is typed.
///
/// # Errors
/// No password is given, or it cannot be read.
pub(crate) fn new_password(ui: &Ui, secret: &args::Secret) -> Result<Hidden, Failed> {
    if let Some(password) = silent(secret)? {
        return Ok(password);
    }
    let first = typed(ui, "new password: ")?;
    if typed(ui, "repeat password: ")? != first {
        return Err(Failed::new(Code::User, "the two are not the same"));
    }
    Ok(first)
}

/// Returns a password that was chosen before.
///
/// # Errors
/// No password is given, or it cannot be read.
pub(crate) fn password(ui: &Ui, secret: &args::Secret, prompt: &str) -> Result<Hidden, Failed> {
    match silent(secret)? {
        Some(password) => Ok(password),
        None => typed(ui, prompt),
    }
}

/// Returns the password of the file or the environment, without asking.
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
        let failed = Failed::new(Code::User, "password needed, but this is not a terminal");
        return Err(failed.hint(format!("use --password-file PATH, or the variable {VARIABLE}")));
    }
    let typed = ui.ask_secretly(prompt);
    fit(typed.map_err(|error| Failed::new(Code::User, format!("cannot read the password: {error}")))?)
}

fn fit(mut password: String) -> Result<Hidden, Failed> {
    if (1..=PASSWORD_BYTES).contains(&password.len()) {
        return Ok(password.into());
    }
    let message = match password.is_empty() {
        true => "the password is empty".to_owned(),
        false => format!("the password is longer than {PASSWORD_BYTES} bytes"),
    };
    password.zeroize();
    Err(Failed::new(Code::User, message))
}
