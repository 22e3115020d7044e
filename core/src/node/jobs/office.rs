//! Jobs about offices: founding, inviting, joining, expelling and leaving.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroize as _;

use super::super::actor::{MembershipCommand, NetworkCommand};
use super::super::context::Context;
use super::super::network::{blocking, failure};
use super::super::networks::JoinedOffice;
use crate::api::command::OfficeCommand as Command;
use crate::api::event::{Event, Failure, Fault};
use crate::api::status::OfficeRow;
use crate::content::share::{Hidden, UnlockError};
use crate::limits;
use crate::membership::error::OfficeError;
use crate::membership::files::{self, OfficeFiles};
use crate::membership::{join, now, random, signer};
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::invite::Invite;
use crate::office::root::{Backup, RootSeed};
use crate::office::trust::TrustState;
use crate::office::{Charter, OfficeId, is_name};
use crate::platform;
use crate::store::Store;
use crate::store::record::Domain;

/// Most time that a command tells members of an expulsion before it ends, if the node does not stay.
const TELL_WITHIN: Duration = Duration::from_secs(15);
/// Time that a join waits for a first member. The node is a member whether or not it meets one.
const MEET_WITHIN: Duration = Duration::from_secs(5);
/// Time that other members are asked for the holder of a name.
const WHO_WITHIN: Duration = Duration::from_secs(3);
/// Time until members have read a message, which they then pass on.
const SENT: Duration = Duration::from_millis(500);

/// Runs a command about offices.
pub(crate) async fn run(context: Context, command: Command) -> Result<Event, Failure> {
    if context.store.is_read_only() && !matches!(command, Command::List | Command::Members { .. }) {
        return Err(failure(Fault::User, "the store is read-only: nothing can be changed"));
    }
    match command {
        Command::List => list(&context).await,
        Command::Init { name, node, password } => init(context, name, node, password).await,
        Command::Invite { office, role, uses, secs, file, password } => {
            let office = context.offices.find(office.as_deref())?;
            let root = unlock(&office, password).await?;
            // Made first: otherwise an invitation could exist that nobody has.
            let file = file.map(|path| own_file(&path)).transpose()?;
            let ask = |reply| MembershipCommand::Invite { role, uses, secs, root, reply };
            let mut code = said(ask_office(&office, ask).await?)?;
            if let Some((mut file, path)) = file {
                let wrote = writeln!(file, "{code}").and_then(|()| file.sync_all());
                wrote.map_err(|e| failure(Fault::Disk, format!("cannot write {}: {e}", path.display())))?;
                code.zeroize();
            }
            Ok(Event::Invited { code: code.into(), office: row(&office).await? })
        }
        Command::Join { code, node } => join_office(context, &code, node).await,
        Command::Members { office } => {
            let office = context.offices.find(office.as_deref())?;
            let members = ask_office(&office, MembershipCommand::Members).await?;
            Ok(Event::Members { office: row(&office).await?, members, told: 0 })
        }
        Command::Expel { office, who, password } => {
            let office = context.offices.find(office.as_deref())?;
            let root = unlock(&office, password).await?;
            ask_who(&office, std::slice::from_ref(&who)).await?;
            let members =
                said(ask_office(&office, |reply| MembershipCommand::Expel { who, root, reply }).await?)?;
            let told = tell(&office).await?;
            Ok(Event::Members { office: row(&office).await?, members: vec![members], told })
        }
        Command::Rotate { office } => {
            let office = context.offices.find(office.as_deref())?;
            said(ask_office(&office, MembershipCommand::Rotate).await?)?;
            tell(&office).await?;
            Ok(Event::Offices { offices: vec![row(&office).await?] })
        }
        Command::Leave { office } => leave(context, office.as_deref()).await,
        Command::Restore { backup, password } => restore(context, &backup, password).await,
        Command::Renew { office, password } => {
            let office = context.offices.find(office.as_deref())?;
            let root = unlock(&office, Some(password)).await?;
            let root = root.ok_or_else(|| failure(Fault::User, "the root key is not on this machine"))?;
            said(ask_office(&office, |reply| MembershipCommand::Appoint { root, reply }).await?)?;
            Ok(Event::Offices { offices: vec![row(&office).await?] })
        }
    }
}

/// Asks other members for the holders of names that this node has not met.
pub(in crate::node) async fn ask_who(office: &JoinedOffice, names: &[String]) -> Result<(), Failure> {
    let until = Instant::now() + WHO_WITHIN;
    for name in names.iter().cloned() {
        // Without an answer in time, the command itself says that nobody is called so.
        let search = ask_office(office, |reply| MembershipCommand::Search { name, reply });
        if let Ok(answer) = timeout_at(until, search).await {
            answer?;
        }
    }
    Ok(())
}

/// Creates a file that only its owner can read.
fn own_file(path: &Path) -> Result<(File, PathBuf), Failure> {
    let file = platform::create_new(path, 0o600);
    let failed = |e| failure(Fault::User, format!("cannot write {}: {e}", path.display()));
    Ok((file.map_err(failed)?, path.to_owned()))
}

/// Returns the rows of all offices.
pub(crate) async fn rows(context: &Context) -> Vec<OfficeRow> {
    let mut rows = Vec::new();
    for office in context.offices.all() {
        rows.extend(row(&office).await.ok());
    }
    rows.extend(broken(context).into_iter().map(|(id, name)| OfficeRow::broken(id.to_string(), name)));
    rows.sort_unstable_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    rows
}

/// Returns the offices that are here and do not run.
fn broken(context: &Context) -> Vec<(OfficeId, String)> {
    if context.offices.with().is_none() {
        return Vec::new();
    }
    let ids = context.store.offices().into_iter().filter(|id| context.offices.get(*id).is_none());
    ids.map(|id| (id, OfficeFiles::name(&context.store, id).unwrap_or_default())).collect()
}

async fn list(context: &Context) -> Result<Event, Failure> {
    Ok(Event::Offices { offices: rows(context).await })
}

async fn row(office: &JoinedOffice) -> Result<OfficeRow, Failure> {
    ask_office(office, MembershipCommand::Office).await?.ok_or_else(gone)
}

pub(in crate::node) async fn ask_office<T>(
    office: &JoinedOffice,
    ask: impl FnOnce(oneshot::Sender<T>) -> MembershipCommand,
) -> Result<T, Failure> {
    office.net.question(|reply| NetworkCommand::Office(ask(reply))).await.ok_or_else(gone)
}

fn gone() -> Failure {
    failure(Fault::Interrupted, "the node stopped")
}

pub(crate) fn said<T>(answer: Result<T, OfficeError>) -> Result<T, Failure> {
    answer.map_err(|why| failure(Fault::User, why.to_string()))
}

fn locked(error: UnlockError) -> Failure {
    let text = match error {
        UnlockError::Password => "wrong password for the root key of the office".to_owned(),
        other => other.to_string(),
    };
    failure(Fault::User, text)
}

/// Unlocks the root's key, if a password is given.
async fn unlock(office: &JoinedOffice, password: Option<Hidden>) -> Result<Option<RootSeed>, Failure> {
    let Some(password) = password else { return Ok(None) };
    let sealed = files::root(&office.store).ok_or_else(|| Failure {
        hint: Some("use the node that created the office, or swarm office restore".to_owned()),
        ..failure(Fault::User, "the root key of the office is not on this machine")
    })?;
    let (store, id) = (office.store.clone(), office.id);
    let opened = blocking(move || {
        let papers = OfficeFiles::load(&store, id).map_err(|e| failure(Fault::Disk, e.to_string()))?;
        RootSeed::unlock(&sealed, papers.book.charter(), password.expose()).map_err(locked)
    });
    opened.await?.map(Some)
}

/// Returns the given name of this node, or that of the machine.
fn own_name(given: Option<String>) -> Result<String, Failure> {
    match given {
        Some(name) if is_name(&name) => Ok(name),
        Some(_) => Err(failure(
            Fault::User,
            format!("a name has 1 to {} bytes and no control characters", limits::OFFICE_NAME_BYTES),
        )),
        None => {
            let host = platform::machine_name();
            Ok(if is_name(&host) { host } else { "node".to_owned() })
        }
    }
}

async fn init(
    context: Context,
    name: String,
    node: Option<String>,
    password: Hidden,
) -> Result<Event, Failure> {
    if !is_name(&name) {
        let most = limits::OFFICE_NAME_BYTES;
        let text = format!("the name of an office has 1 to {most} bytes and no control characters");
        return Err(failure(Fault::User, text));
    }
    if context.offices.all().iter().any(|office| office.name == name) {
        return Err(failure(Fault::User, "this node is already in an office of that name"));
    }
    let node = own_name(node)?;
    let store = context.store.clone();
    let (id, backup) = blocking(move || found(&store, name, node, &password)).await??;
    let office = context.offices.open(id).await.map_err(|e| failure(e.fault(), e.to_string()))?;
    context.say_default().await;
    Ok(Event::Founded { office: row(&office).await?, backup })
}

/// Makes all files that an office begins with.
fn found(
    store: &Store,
    name: String,
    node: String,
    password: &Hidden,
) -> Result<(crate::office::OfficeId, Hidden), Failure> {
    let disk = |e: crate::store::DiskError| failure(Fault::Disk, e.to_string());
    let seed = RootSeed::from_bytes(said(random())?);
    let root = seed.signer();
    let at = now();
    let charter = Charter { root: root.public(), made: at, name };
    let id = charter.id();
    let sealed = seed.lock(id, password.expose(), &said(random())?, &said(random())?).map_err(locked)?;
    let (store, keypair) = OfficeFiles::begin(store, id).map_err(disk)?;
    let own = signer(&keypair)
        .ok_or_else(|| failure(Fault::Disk, "the key of this node is damaged or of an unknown kind"))?;
    let (role, expires) = (Role::Registrar, at + limits::REGISTRAR_SECS);
    let own = Certificate { subject: own.public(), role, serial: at, issued: at, expires, name: node };
    let chain = Chain(vec![own.sign(id, &root)]);
    let mut book = TrustState::new(charter);
    let secret = book.renew_secret(&root, &[], said(random())?, at);
    book.hear(&secret, at).map_err(|e| failure(Fault::Disk, e.to_string()))?;
    files::keep_root(&store, &sealed).map_err(disk)?;
    OfficeFiles::settle(&store, &book, &chain).map_err(disk)?;
    Ok((id, Hidden::from(seed.backup(id).as_str().to_owned())))
}

async fn join_office(context: Context, code: &Hidden, node: Option<String>) -> Result<Event, Failure> {
    let invite: Invite = code.expose().parse().map_err(|e| failure(Fault::User, format!("{e}")))?;
    let Some(with) = context.offices.with() else {
        return Err(failure(Fault::User, "this node is offline"));
    };
    let (id, name, all) = (invite.office, own_name(node)?, with.store.clone());
    let disk = |e: crate::store::DiskError| failure(Fault::Disk, e.to_string());
    let (store, keypair) = blocking(move || OfficeFiles::begin(&all, id)).await?.map_err(disk)?;
    let joined = join::join(&invite, &keypair, &name).await;
    if joined.is_err() && !context.store.offices().contains(&id) {
        // The folder of an office that was not joined is deleted.
        let folder = store.clone();
        let _ = blocking(move || folder.delete_folder()).await;
    }
    let joined = joined.map_err(|why| Failure {
        hint: Some("is the node of the registrar running, and can this machine reach it?".to_owned()),
        ..failure(Fault::NotFound, format!("no registrar admitted this node: {why}"))
    })?;
    // A node that joins again goes on with a new certificate.
    context.offices.close(id).await;
    let (at, chain) = (now(), joined.chain);
    let mut book = joined.book;
    let settled = blocking(move || {
        if let Ok(before) = OfficeFiles::load(&store, id) {
            for told in before.book.all() {
                // Statements that are not believed any more are not kept.
                let _ = book.hear(told, at);
            }
        }
        OfficeFiles::settle(&store, &book, &chain)
    });
    settled.await?.map_err(disk)?;
    let office = context.offices.open(id).await.map_err(|e| failure(e.fault(), e.to_string()))?;
    context.say_default().await;
    let (peer, addr) = joined.registrar;
    let hints = super::super::actor::Hints {
        peers: vec![addr.with(crate::net::Protocol::P2p(peer))],
        ..super::super::actor::Hints::default()
    };
    office.net.ask(NetworkCommand::Meet(hints)).await;
    // The address of the registrar is remembered once the node has met it.
    wait_for_one(&office, MEET_WITHIN).await?;
    Ok(Event::Offices { offices: vec![row(&office).await?] })
}

/// Waits until a member is connected, and returns the number of connected members.
async fn wait_for_one(office: &JoinedOffice, within: Duration) -> Result<u32, Failure> {
    if let Ok(answer) = timeout(within, ask_office(office, MembershipCommand::AwaitMember)).await {
        answer?;
    }
    Ok(row(office).await?.connected)
}

/// Waits until a member that passes the news on has it; returns the number of connected members.
async fn tell(office: &JoinedOffice) -> Result<u32, Failure> {
    let members = ask_office(office, MembershipCommand::Members).await?;
    if members.iter().all(|member| member.own || member.expelled) {
        return Ok(0);
    }
    // A node that stays tells members as they come.
    let within = if office.stays { MEET_WITHIN } else { TELL_WITHIN };
    let told = wait_for_one(office, within).await?;
    sleep(SENT).await;
    Ok(told)
}

async fn leave(context: Context, name: Option<&str>) -> Result<Event, Failure> {
    let fits = |(id, called): &(OfficeId, String)| {
        name.is_none_or(|name| called == name || (name.len() >= 4 && id.to_string().starts_with(name)))
    };
    let id = match (context.offices.find(name), broken(&context).into_iter().find(fits)) {
        (Ok(office), _) => office.id,
        // Also an office that cannot be used any more.
        (Err(_), Some((id, _))) => id,
        (Err(failed), None) => return Err(failed),
    };
    let store = context.store.within(Domain::Office(id));
    context.offices.close(id).await;
    let (all, domain) = (context.store.clone(), Domain::Office(id));
    let done = blocking(move || {
        // Content of the office is never offered again.
        for record in all.records().into_iter().filter(|record| record.is_of(domain)) {
            all.leave(record.id, domain).map_err(super::store_failure)?;
        }
        store.delete_folder().map_err(|e| failure(Fault::Disk, e.to_string()))
    });
    done.await??;
    context.offices.look(&context.store);
    context.say_default().await;
    list(&context).await
}

async fn restore(context: Context, backup: &Hidden, password: Hidden) -> Result<Event, Failure> {
    let Backup { office: id, seed } =
        backup.expose().parse().map_err(|e| failure(Fault::User, format!("{e}")))?;
    let office = context.offices.get(id).ok_or_else(|| Failure {
        hint: Some("restore on any machine that is still a member".to_owned()),
        ..failure(Fault::User, "the backup is for an office that this node is not in")
    })?;
    let root = seed.clone();
    said(ask_office(&office, |reply| MembershipCommand::Appoint { root, reply }).await?)?;
    let store = office.store.clone();
    let kept = blocking(move || {
        let sealed = seed.lock(id, password.expose(), &said(random())?, &said(random())?).map_err(locked)?;
        files::keep_root(&store, &sealed).map_err(|e| failure(Fault::Disk, e.to_string()))
    });
    kept.await??;
    Ok(Event::Offices { offices: vec![row(&office).await?] })
}
