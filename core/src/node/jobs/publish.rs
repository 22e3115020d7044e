//! Publishes a file or directory, and makes the link for other nodes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::actor::{MembershipCommand, NetworkCommand};
use super::super::context::Context;
use super::super::network::{Flag, blocking, failure};
use super::super::teller::Teller;
use super::{blob_row, choose_network, office, store_failure};
use crate::api::command::Publish;
use crate::api::event::{BlobRow, Event, Failure, Fault, Published};
use crate::content::geometry::Geometry;
use crate::content::link::Link;
use crate::content::path::{self, Rules};
use crate::content::seal::{KEY, NONCE, SALT, ShareKey};
use crate::content::share::{self, Hidden};
use crate::id::ContentId;
use crate::limits;
use crate::net::address::ip_of;
use crate::net::{Multiaddr, Protocol};
use crate::options::Audience;
use crate::store::record::{Domain, Record};
use crate::store::{Import, Secret, Store, StoreError, straight};
use crate::transfer::webseed::WebSeed;
use crate::transfer::webseed::hash_list::read_hash_list;

/// Most addresses in a link, which is meant to be pasted.
const LINK_ADDRS: usize = 3;
/// Time that a publish waits for the answers of web seeds.
const LOOK: Duration = Duration::from_secs(3);
/// Bytes between two events of progress.
const TELL_BYTES: u64 = 64 << 20;

pub(crate) async fn publish(context: Context, publish: Publish, events: Teller) -> Result<Event, Failure> {
    let started = Instant::now();
    let webseeds = check_webseeds(&publish)?;
    let to = publish.to.clone();
    may_offer(&context, &to).await?;
    // A node in an office serves nobody in the public network by default: content published there is for the
    // LAN.
    let unsaid = (context.domain == Domain::Public && context.is_unsaid()).then_some(Audience::Lan);
    let given = publish.path.clone();
    let path = blocking(move || straight(given)).await?;
    let publish = Publish { path, serve: publish.serve.or(unsaid), ..publish };
    let (domain, from) = (context.domain, publish.path.clone());
    let (hash_list, password) = (publish.hash_list.clone(), publish.password.clone());
    if let Some(path) = &hash_list {
        context.store.refuse_list(path).map_err(store_failure)?;
    }
    let cancel: Flag = Arc::new(AtomicBool::new(false));
    let importing = blocking({
        let (store, cancel, events) = (context.store.clone(), Arc::clone(&cancel), events.clone());
        move || import(&store, (&publish, domain), &cancel, &events)
    });
    let (record, mut warnings) = tokio::select! {
        done = importing => done?.map_err(store_failure)?,
        () = events.closed() => {
            cancel.store(true, Ordering::Relaxed);
            return Err(failure(Fault::Interrupted, "stopped"));
        }
    };
    warnings.extend(superseded(&context, &record, from).await?);
    if let Some(password) = password {
        let (store, id) = (context.store.clone(), record.id);
        blocking(move || lock_share(&store, id, &password)).await?.map_err(store_failure)?;
    }
    if let Some(path) = hash_list {
        write_list(&context, record.id, path).await?;
    }
    let (store, id, payload) = (context.store.clone(), record.id, record.payload);
    vouch(&context, id, payload.map(|p| p.id), to).await?;
    let open = move || (store.blob(id), payload.and_then(|p| store.blob(p.id)));
    let (blob, files) = blocking(open).await?;
    if let Some(net) = &context.net {
        for blob in blob.into_iter().chain(files) {
            net.ask(NetworkCommand::Publish(blob)).await;
        }
    }
    warnings.extend(look_at(&webseeds, (record.id, record.len)).await);
    let row = BlobRow { serve: Some(context.audience(&record)), ..blob_row(&context.store, &record, None) };
    let link = link(&context, &record, webseeds);
    let took_ms = started.elapsed().as_millis() as u64;
    Ok(Event::Published(Published { blob: row, link, took_ms, warnings }))
}

/// Withdraws content that was published from this path before and is not there any more. Returns a sentence
/// for each.
async fn superseded(context: &Context, record: &Record, from: PathBuf) -> Result<Vec<String>, Failure> {
    let (store, by) = (context.store.clone(), record.clone());
    let old = blocking(move || store.superseded(&from, &by, &AtomicBool::new(false))).await?;
    let mut said = Vec::new();
    for old in old {
        context.ask_all(|| NetworkCommand::Lost(old.id)).await;
        let (id, name) = (old.of.unwrap_or(old.id).short(), path::escape(&old.name));
        said.push(format!("{id} ({name}) is no longer shared: its data is gone"));
    }
    Ok(said)
}

/// Checks that this node may offer content to these members, before anything is read. Only publishers of an
/// office offer content to all.
async fn may_offer(context: &Context, to: &[String]) -> Result<(), Failure> {
    let office = match context.domain {
        Domain::Office(id) => context.offices.get(id),
        Domain::Public => None,
    };
    match office {
        Some(office) => {
            office::ask_who(&office, to).await?;
            let to = to.to_vec();
            office::said(
                office::ask_office(&office, |reply| MembershipCommand::MayOffer { to, reply }).await?,
            )
        }
        None if to.is_empty() => Ok(()),
        None => Err(failure(
            Fault::User,
            "--to works only in an office, and this is published to the public network",
        )),
    }
}

/// Signs a voucher, which tells all members whom the content is for.
async fn vouch(
    context: &Context,
    id: ContentId,
    payload: Option<ContentId>,
    to: Vec<String>,
) -> Result<(), Failure> {
    let Domain::Office(office) = context.domain else { return Ok(()) };
    let Some(office) = context.offices.get(office) else { return Ok(()) };
    let ids = std::iter::once(id).chain(payload).collect();
    office::said(office::ask_office(&office, |reply| MembershipCommand::Vouch { ids, to, reply }).await?)
}

/// Writes the hash list as it travels, for a web server to have beside the file.
async fn write_list(context: &Context, id: ContentId, path: PathBuf) -> Result<(), Failure> {
    let store = context.store.clone();
    blocking(move || store.write_list(id, &path)).await?.map_err(store_failure)
}

/// Checks the web seeds before anything is read, and returns them.
fn check_webseeds(publish: &Publish) -> Result<Vec<String>, Failure> {
    if publish.encrypt && (!publish.webseeds.is_empty() || publish.hash_list.is_some()) {
        let text = "--encrypt and --webseed cannot be combined: the web server holds the unencrypted file";
        return Err(failure(Fault::User, text));
    }
    if publish.webseeds.len() > limits::LINK_WEBSEEDS {
        return Err(failure(Fault::User, format!("more than {} web seeds", limits::LINK_WEBSEEDS)));
    }
    let of_file = !publish.webseeds.is_empty() || publish.hash_list.is_some();
    if of_file && publish.path.is_dir() {
        return Err(failure(Fault::User, "--webseed works only for a file, and this is a folder"));
    }
    for url in &publish.webseeds {
        // Getters decide for themselves whether they may go to private networks.
        WebSeed::new(url, true)
            .map_err(|e| failure(Fault::User, format!("--webseed {}: {e}", path::escape(url))))?;
    }
    Ok(publish.webseeds.clone())
}

/// Returns a sentence for each web seed that has no file of this length, or no hash list beside it, now.
/// These are only warnings: getters verify every byte, and the publisher may be about to put the files there.
async fn look_at(webseeds: &[String], (id, len): (ContentId, u64)) -> Vec<String> {
    let look = async |url: &String| {
        let odd =
            timeout(LOOK, odd(url, id, len)).await.unwrap_or_else(|_| Some("does not answer now".to_owned()));
        Some(format!("web seed {} {}", path::escape(url), odd?))
    };
    futures::future::join_all(webseeds.iter().map(look)).await.into_iter().flatten().collect()
}

/// Returns the fault of a web seed, in words that follow its name.
async fn odd(url: &str, id: ContentId, len: u64) -> Option<String> {
    let found = match WebSeed::new(url, true) {
        Ok(seed) => seed.len().await,
        Err(error) => Err(error),
    };
    match found {
        Ok(there) if there == len => {}
        Ok(there) => return Some(format!("has {there} bytes, but the file has {len}: it cannot be used")),
        Err(error) => return Some(format!("cannot be read now: {error}")),
    }
    // The only chunk of a short file needs no list.
    let geometry = Geometry::new(len).ok().filter(|geometry| geometry.chunks() > 1)?;
    let fault = read_hash_list(url, true, id, geometry).await.err()?;
    Some(format!("needs a peer beside it: {fault} (publish --hash-list FILE writes the right one)"))
}

const fn rules(publish: &Publish) -> Rules {
    if publish.unix_names { Rules::Unix } else { Rules::Portable }
}

/// Returns the name that is offered to getters, with a sentence if it is not the name of the path. It is only
/// a hint, so a name that not every system can store keeps nothing from being published.
fn travelling(publish: &Publish) -> (String, Option<String>) {
    let own = publish.path.file_name();
    let name = publish.name.clone().or(own.map(|name| name.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| "root".to_owned());
    let is_text = publish.name.is_some() || own.is_none_or(|name| name.to_str().is_some());
    let reason = match path::check_component(&name, rules(publish)) {
        Ok(()) if is_text => return (name, None),
        Ok(()) => "its own is not UTF-8".to_owned(),
        Err(reason) => reason.to_string(),
    };
    let offered = path::sanitize_name(&name);
    let text = format!("it is offered under the name {}, because {reason}", path::escape(&offered));
    (offered, Some(text))
}

fn import(
    store: &Store,
    (publish, domain): (&Publish, Domain),
    cancel: &AtomicBool,
    events: &Teller,
) -> Result<(Record, Vec<String>), StoreError> {
    let (name, renamed) = travelling(publish);
    let told = AtomicU64::new(0);
    let progress = |done: u64, total: u64| {
        if done >= told.load(Ordering::Relaxed) + TELL_BYTES || done == total {
            told.store(done, Ordering::Relaxed);
            let _ = events.try_send(Event::Hashing { done, total });
        }
    };
    let skipped = Mutex::new(Vec::<PathBuf>::new());
    let import = Import {
        path: &publish.path,
        name,
        copy: publish.copy,
        take: publish.take,
        rules: rules(publish),
        symlinks: publish.symlinks,
        skipped_homes: publish.skip_homes.then_some(&skipped),
        audience: publish.serve,
        domain,
        progress: &progress,
        cancel,
    };
    let record =
        if publish.encrypt { store.import_share(&import, &secret()?)? } else { store.import(&import)? };
    let left_out = skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
    let left_out = left_out.iter().map(|home| path::escape(&home.to_string_lossy()));
    let mut warnings: Vec<String> =
        left_out.map(|home| format!("{home} was left out: it is the home of a swarm")).collect();
    warnings.extend(renamed);
    if path::warns(&record.name) {
        warnings.push(format!("{} looks like a short file name of Windows", record.name));
    }
    Ok((record, warnings))
}

/// Returns `swarm:<id>?name=..&peer=..&tracker=..` with the addresses that a stranger is likeliest to reach.
pub(crate) fn link(context: &Context, record: &Record, webseeds: Vec<String>) -> String {
    let id = record.id;
    let (mut peers, mut trackers, mut dht) = (Vec::new(), Vec::<String>::new(), Vec::new());
    if let Some(net) = &context.net {
        dht = net.dht.to_vec();
        trackers = crate::discovery::tracker::for_link(id, &net.trackers);
        let mapped = net.mapped.as_ref().map(|mapped| mapped.borrow().addrs.clone()).unwrap_or_default();
        let outside: Vec<Multiaddr> = net.external.iter().cloned().chain(mapped).collect();
        let known = |addr: &Multiaddr| outside.contains(addr);
        let mut addrs: Vec<Multiaddr> = outside.iter().chain(&*net.listen.borrow()).cloned().collect();
        let rank = |addr: &Multiaddr| {
            let ip = ip_of(addr);
            let quic = addr.iter().any(|p| matches!(p, Protocol::Udp(_)));
            let loopback = ip.is_some_and(|ip| ip.is_loopback());
            (!known(addr), loopback, quic, ip.is_some_and(|ip| ip.is_ipv6()))
        };
        addrs.sort_by_key(rank);
        let others = addrs.iter().any(|a| ip_of(a).is_some_and(|ip| !ip.is_loopback()));
        let link_local =
            |a: &Multiaddr| matches!(ip_of(a), Some(std::net::IpAddr::V6(ip)) if ip.is_unicast_link_local());
        addrs.retain(|a| !link_local(a) && (!others || ip_of(a).is_some_and(|ip| !ip.is_loopback())));
        let through =
            net.relays.iter().take(limits::RELAYS).map(|relay| relay.clone().with(Protocol::P2pCircuit));
        peers = addrs
            .into_iter()
            .take(LINK_ADDRS)
            .chain(through)
            .map(|a| a.with(Protocol::P2p(net.peer)).to_string())
            .collect();
    }
    let name = Some(record.name.clone())
        .filter(|name| !record.is_private() && !name.is_empty() && name.len() <= limits::LINK_NAME_BYTES);
    let fragment = context.store.share_fragment(id);
    let office = choose_network::tag(context.domain);
    Link { id, name, peers, trackers, dht, webseeds, office, fragment }.to_string()
}

/// Draws a new key and salt.
fn secret() -> Result<Secret, StoreError> {
    let mut key = Zeroizing::new([0; KEY]);
    random(&mut *key)?;
    let mut salt = [0; SALT];
    random(&mut salt)?;
    Ok(Secret { key: ShareKey::from_bytes(*key), salt })
}

fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| StoreError::User("the system has no random numbers".into()))
}

/// Locks the key in the link of this share with a password from now on.
fn lock_share(store: &Store, id: ContentId, password: &Hidden) -> Result<(), StoreError> {
    let key = store.share_key(id).ok_or(StoreError::NoKey)?;
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    random(&mut salt)?;
    random(&mut nonce)?;
    let locked = share::lock(&key, id, password.expose(), &salt, &nonce);
    store.keep_lock(id, &locked.map_err(|e| StoreError::User(e.to_string()))?)
}
