//! `swarm office`.

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use swarm_core::api::call::Call;
use swarm_core::api::call::office::{
    ExpelMember, FoundOffice, Founded, InviteNodes, JoinOffice, LeaveOffice, ListMembers, ListOffices,
    RenewRegistrar, RestoreRoot, RotateSecret,
};
use swarm_core::api::event::Event;
use swarm_core::api::status::{MemberRow, OfficeRow};
use swarm_core::content::link::bare;
use swarm_core::content::share::Hidden;
use swarm_core::limits::INVITE_BYTES;
use swarm_core::office::certificate::Role;
use zeroize::Zeroizing;

use crate::args::office::{Expel, Init, Invite, Join, Office, Renew, Restore};
use crate::conversation::{Conversation, Sharer, ask_once};
use crate::exit::{Code, Failed, Outcome};
use crate::password;
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::table::Column;
use crate::ui::Ui;

/// The beginning of an invitation; any other text is the name of a file.
const CODE: &str = "swarm-join:";
/// Time between two looks for new members.
const LOOK: Duration = Duration::from_millis(500);

/// Does what was asked, with the node that runs or one of our own.
pub(super) async fn run(ui: &Ui, settings: &Settings, what: Option<Office>) -> Outcome {
    let office = settings.office();
    match what.unwrap_or(Office::List) {
        Office::List => {
            let offices = ask(ui, settings, ListOffices).await?;
            list(ui, &offices)
        }
        Office::Init(args) => init(ui, settings, &args).await,
        Office::Invite(args) => invite(ui, settings, &args, office).await,
        Office::Join(args) => join(ui, settings, &args).await,
        Office::Members => members(ui, settings, office).await,
        Office::Expel(args) => expel(ui, settings, &args, office).await,
        Office::Leave => {
            let left = ask(ui, settings, LeaveOffice { office }).await?;
            ui.talk(&format!("left; this node is now in {}", size::plural(left.len() as u64, "office")));
            Ok(())
        }
        Office::Rotate => {
            let rotated = ask(ui, settings, RotateSecret { office }).await?;
            ui.talk(&format!("secret changed; {}", told_to(rotated.connected)));
            Ok(())
        }
        Office::Restore(args) => restore(ui, settings, &args).await,
        Office::Renew(Renew { secret }) => {
            let password = password::password(ui, &secret, "root password: ")?;
            let renewed = ask(ui, settings, RenewRegistrar { office, password }).await?;
            list(ui, &[renewed])
        }
    }
}

async fn ask<C: Call>(ui: &Ui, settings: &Settings, call: C) -> Outcome<C::Answer> {
    ask_once(ui, settings.options(), call).await
}

async fn init(ui: &Ui, settings: &Settings, args: &Init) -> Outcome {
    ui.talk("choose a password for the root key of the office, which is needed only to create registrars");
    let password = password::new_password(ui, &args.secret)?;
    let (name, node) = (args.name.clone(), args.node.clone());
    let Founded { office, backup, .. } = ask(ui, settings, FoundOffice { name, node, password }).await?;
    if !ui.is_json() {
        ui.data(backup.expose())?;
    }
    ui.talk("This is the root key of the office: write it down or print it, and keep it in a safe place.");
    ui.talk("If this machine is lost, `swarm office restore` makes another member a registrar with it.");
    ui.talk(&format!("created {}; this node is its first registrar: {}", office.name, office.called));
    ui.talk("invite others with: swarm office invite");
    Ok(())
}

async fn invite(ui: &Ui, settings: &Settings, args: &Invite, office: Option<String>) -> Outcome {
    let password = match args.role {
        Role::Registrar => Some(password::password(ui, &args.secret, "root password: ")?),
        Role::Member | Role::Publisher => None,
    };
    let (role, uses, secs) = (args.role, args.uses, args.expires.as_secs().max(1));
    let show = |code: &Hidden, office: &OfficeRow| {
        if args.file.is_none() && !ui.is_json() {
            ui.data(code.expose())?;
        }
        let (machines, within) = (size::plural(uses.into(), "machine"), size::seconds(secs));
        ui.talk(&format!(
            "to join {} as {}, on {machines} within {within}, type there:",
            office.name,
            role.name()
        ));
        ui.talk("  swarm office join CODE    (or a file that contains it)");
        Ok(())
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|e| Failed::io("write", path, &e));
    let file = args.file.as_ref().map(absolute).transpose()?;
    let invite = InviteNodes::new(role).office(office).uses(uses).expires_in(args.expires);
    let mut conversation = Conversation::open(ui, settings.resident()).await?;
    let invited = conversation.answer(invite.file(file).password(password), |_| Ok(())).await;
    let shown = invited.and_then(|invited| show(&invited.code, &invited.office).map(|()| invited.office.id));
    if let (Ok(office), true) = (&shown, !matches!(conversation.sharer(), Sharer::Daemon(_))) {
        let waited = wait_for_newcomers(ui, &mut conversation, office, (uses, secs)).await;
        return conversation.finish(waited).await;
    }
    conversation.finish(shown.map(drop)).await
}

/// Until all that were invited have come, or may come no longer.
async fn wait_for_newcomers(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    office: &str,
    (uses, secs): (u32, u64),
) -> Outcome {
    ui.talk("keep this running until they have joined, or run swarm daemon (Ctrl-C ends it)");
    let until = std::time::Instant::now() + Duration::from_secs(secs);
    let mut left = uses;
    while left > 0 && std::time::Instant::now() < until {
        conversation.unless_signalled(tokio::time::sleep(LOOK)).await?;
        let asked = conversation.ask(ListOffices).await;
        let offices = loop {
            match conversation.next().await? {
                (number, Event::Offices { offices }) if number == asked => break offices,
                (number, Event::Failed(failure)) if number == asked => {
                    return Err(Failed::from(failure).into());
                }
                _ => {}
            }
        };
        let now = offices.iter().find(|row| row.id == office).map_or(0, |row| row.invited);
        if now < left && now > 0 {
            ui.talk(&format!("{} may still join", size::plural(now.into(), "node")));
        }
        left = left.min(now);
    }
    let expired = std::time::Instant::now() >= until;
    ui.talk(match expired {
        true => "the invitation has expired",
        false => "all invited machines have joined, or the invitation was ended",
    });
    Ok(())
}

/// The invitation that is meant: itself, or in a file, or on standard input.
pub(super) fn code(text: &str) -> Result<Hidden, Failed> {
    if bare(text).starts_with(CODE) {
        return Ok(bare(text).into());
    }
    let mut read = Zeroizing::new(String::new());
    let most = INVITE_BYTES as u64 + 64;
    let done = match text {
        "-" => io::stdin().lock().take(most).read_to_string(&mut read),
        path => std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut read)),
    };
    // What is neither may be a code with a mistake in it: it is not shown.
    done.map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("not an invitation (they start with {CODE}), and there is no such file")
            }
            _ => format!("cannot read the invitation: {error}"),
        };
        Failed::new(Code::User, message).hint("swarm office join CODE, or a file that contains the code")
    })?;
    Ok(bare(&read).into())
}

async fn join(ui: &Ui, settings: &Settings, args: &Join) -> Outcome {
    let joined = ask(ui, settings, JoinOffice { code: code(&args.code)?, node: args.node.clone() }).await?;
    say_joined(ui, &joined);
    Ok(())
}

/// Tells a new member what has changed.
pub(super) fn say_joined(ui: &Ui, office: &OfficeRow) {
    ui.talk(&format!("joined {} as {} ({})", office.name, office.called, office.role.name()));
    ui.talk("from now on publish and get use this office; add --public for the public network");
}

async fn members(ui: &Ui, settings: &Settings, office: Option<String>) -> Outcome {
    let members = ask(ui, settings, ListMembers { office }).await?;
    if ui.is_json() {
        return Ok(());
    }
    let columns = [
        Column::Flexible("NAME"),
        Column::Left("ROLE"),
        Column::Left("STATE"),
        Column::Left("EXPIRES IN"),
        Column::Left("NODE"),
    ];
    let row = |member: &MemberRow| {
        let state = match member {
            MemberRow { own: true, .. } => "this node",
            MemberRow { expelled: true, .. } => "expelled",
            MemberRow { connected: true, .. } => "connected",
            _ => "",
        };
        let node = if ui.is_terminal() { short(&member.node).to_owned() } else { member.node.clone() };
        let role = member.role.name().to_owned();
        vec![member.name.clone(), role, state.to_owned(), left(member.expires), node]
    };
    ui.table(&columns, &members.iter().map(row).collect::<Vec<_>>())
}

/// How long something holds that ends then.
fn left(expires: u64) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    match expires.saturating_sub(now) {
        0 => "expired".to_owned(),
        left => size::seconds(left),
    }
}

async fn expel(ui: &Ui, settings: &Settings, args: &Expel, office: Option<String>) -> Outcome {
    let password = match args.registrar {
        true => Some(password::password(ui, &args.secret, "root password: ")?),
        false => None,
    };
    let expelled = ask(ui, settings, ExpelMember { office, who: args.who.clone(), password }).await?;
    ui.talk(&format!("{} expelled; {}", expelled.member.name, told_to(expelled.told)));
    ui.talk("open invitations have ended");
    Ok(())
}

fn told_to(members: u32) -> String {
    match members {
        0 => "no other member is online; they will learn it when they next connect".to_owned(),
        1 => "1 connected member passes this on".to_owned(),
        _ => format!("{} pass this on", size::plural(members.into(), "connected member")),
    }
}

async fn restore(ui: &Ui, settings: &Settings, args: &Restore) -> Outcome {
    let mut text = Zeroizing::new(String::new());
    let read = match &args.backup {
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text)),
        None => {
            ui.talk("type the backup of the root key, then Ctrl-D:");
            io::stdin().lock().take(4096).read_to_string(&mut text)
        }
    };
    read.map_err(|error| Failed::new(Code::User, format!("cannot read the backup: {error}")))?;
    let password = password::new_password(ui, &args.secret)?;
    let backup = bare(&text).into();
    let restored = ask(ui, settings, RestoreRoot { backup, password }).await?;
    list(ui, &[restored])
}

/// The offices of a node, a few lines each.
fn list(ui: &Ui, offices: &[OfficeRow]) -> Outcome {
    if ui.is_json() {
        return Ok(());
    }
    if offices.is_empty() {
        ui.talk("this node is not in an office: swarm office join CODE, or swarm office init NAME");
        return Ok(());
    }
    let columns = [
        Column::Flexible("OFFICE"),
        Column::Left("THIS NODE"),
        Column::Left("ROLE"),
        Column::Left("EXPIRES IN"),
        Column::Right("CONNECTED"),
        Column::Right("KNOWN"),
        Column::Left("ID"),
    ];
    let row = |office: &OfficeRow| {
        let id = if ui.is_terminal() { short(&office.id).to_owned() } else { office.id.clone() };
        vec![
            office.name.clone(),
            office.called.clone(),
            office.role.name().to_owned(),
            left(office.expires),
            office.connected.to_string(),
            office.members.to_string(),
            id,
        ]
    };
    ui.table(&columns, &offices.iter().map(row).collect::<Vec<_>>())?;
    for office in offices {
        if let Some(trouble) = &office.trouble {
            ui.warn(&format!("{}: {trouble}", office.name));
        }
    }
    Ok(())
}
