//! Explains why a download waits or is slow, and what each way of finding holders found, in one sentence
//! each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::actor::{Hints, NetworkCommand};
use super::super::context::Context;
use super::super::network::failure;
use super::super::teller::Teller;
use super::{look_at, resolve, trouble};
use crate::api::command::Network;
use crate::api::event::{Event, Failure, Fault};
use crate::api::status::{Diagnosis, Limits};
use crate::content::link::Link;
use crate::exchange::{Facts, Stage};
use crate::id::ContentId;
use crate::transfer::watchers::Owner;

/// Time that content is looked for that is not being fetched.
const LOOK_FOR: Duration = Duration::from_secs(5);
/// Share of a limit from which a rate counts as held back by it.
const AT_LIMIT: f64 = 0.85;
/// Bytes per second below which a slow holder gets a sentence of its own.
const SLOW: u64 = 1 << 20;

pub(crate) async fn why(context: Context, text: &str, events: Teller) -> Result<Event, Failure> {
    let link = resolve(&context.store, text)?;
    let networks = networks(&context, &link)?;
    look_at(&context, link.id).await;
    let record = context.store.record(link.id);
    // The bytes of a directory's files take long, not its manifest.
    let id = record.as_ref().and_then(|r| r.payload).map_or(link.id, |payload| payload.id);
    let mut why = Vec::new();
    let lost = match &record {
        Some(record) => trouble(&context, record).await?.map(|trouble| format!("{} {trouble}", record.name)),
        None => None,
    };
    why.extend(lost);
    let here = why.is_empty() && context.store.is_whole(link.id);
    if here {
        why.push("complete on this machine".to_owned());
    }
    let mut routes = Vec::new();
    // A node with one network need not name it.
    let several = !context.offices.is_empty();
    for one in networks {
        let (said, tried) = in_network(&one, (id, here), &link, &events).await?;
        let name = several.then(|| one.network_name());
        let named = |text: String| match &name {
            Some(name) => format!("in {name}: {text}"),
            None => text,
        };
        why.extend(said.into_iter().map(named));
        routes.extend(tried.into_iter().map(named));
    }
    Ok(Event::Why(Diagnosis { id: id.to_string(), why, routes }))
}

/// Returns the networks to ask: those in which the content may be offered, is fetched, or would be looked
/// for.
fn networks(context: &Context, link: &Link) -> Result<Vec<Context>, Failure> {
    let Some(record) = context.store.record(link.id).filter(|r| !r.domains.is_empty()) else {
        return Ok(vec![context.clone().for_fetching(&Network::Usual, link)?]);
    };
    let mut all = context.networks();
    all.retain(|one| one.net.is_some() && record.is_of(one.domain));
    all.extend(context.offices_for(link.id));
    if all.is_empty() {
        all.push(context.clone().for_fetching(&Network::Usual, link)?);
    }
    Ok(all)
}

/// Explains what holds the download up in one network, and what each way of finding holders found there.
async fn in_network(
    context: &Context,
    (id, here): (ContentId, bool),
    link: &Link,
    events: &Teller,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let net = context.net.clone().ok_or_else(|| failure(Fault::User, "this node is offline"))?;
    let ask = || net.question(|reply| NetworkCommand::Why { id, reply });
    let mut report = ask().await.unwrap_or_default();
    let mut why = std::mem::take(&mut report.barred);
    if here {
        return Ok((why, report.routes));
    }
    if let Some(facts) = &report.facts {
        why.extend(sentences(facts, &report.names, &net.limits.borrow()));
        return Ok((why, report.routes));
    }
    why.push("not being fetched; a search found:".to_owned());
    let owner: Arc<Owner> = Arc::default();
    let addresses = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
    let (peers, trackers) = (addresses(&link.peers), addresses(&link.trackers));
    let webseeds = link.webseeds.clone();
    let hints = Hints { peers, trackers, dht: addresses(&link.dht), webseeds, audience: None };
    look(&net, id, &owner, hints, events).await;
    report = ask().await.unwrap_or_default();
    let met = report.barred.into_iter().filter(|barred| !why.contains(barred)).collect::<Vec<_>>();
    why.extend(report.facts.as_ref().map(|facts| found(facts, &report.names)));
    why.extend(met);
    Ok((why, report.routes))
}

/// Looks for holders until there is one, or for a while.
async fn look(
    net: &super::super::network::Net,
    id: ContentId,
    owner: &Arc<Owner>,
    hints: Hints,
    events: &Teller,
) {
    let owner = Arc::clone(owner);
    let ask = |reply| NetworkCommand::Learn { id, known: None, expect: None, owner, hints, reply };
    let Some((mut view, _)) = net.question(ask).await else { return };
    let until = Instant::now() + LOOK_FOR;
    while matches!(view.borrow_and_update().stage, Stage::Searching) {
        let left = until.saturating_duration_since(Instant::now());
        tokio::select! {
            changed = tokio::time::timeout(left, view.changed()) => if !matches!(changed, Ok(Ok(()))) { return },
            () = events.closed() => return,
        }
    }
}

/// Returns a sentence on the holders that a look around found.
fn found(facts: &Facts, names: &[String]) -> String {
    match names {
        [] => "no reachable peer has any of it".to_owned(),
        [one] => format!("{one} has some of it"),
        [one, ..] if facts.learned => format!("{one} and {} more have some of it", names.len() - 1),
        [one, ..] => format!("{one} and {} more claim to have some of it", names.len() - 1),
    }
}

/// Returns at least one sentence on what holds a download up, the worst first.
fn sentences(facts: &Facts, names: &[String], limits: &Limits) -> Vec<String> {
    let mut all = Vec::new();
    if facts.paused {
        all.push("the disk is full or not writable: the download resumes when there is room".to_owned());
    }
    if facts.holders.is_empty() {
        all.push("no reachable peer has any of it".to_owned());
        return all;
    }
    if !facts.learned {
        all.push("fetching its hashes first: nothing can be verified without them".to_owned());
    }
    if let Some((first, count)) = facts.nowhere {
        let more = if count > 1 { format!(" (nor {} more)", count - 1) } else { String::new() };
        all.push(format!("no reachable peer has chunk {first}{more}"));
    }
    all.extend(held_back(facts.rate, limits));
    let silent = facts.holders.iter().filter(|h| !h.gives).count();
    if silent > 0 {
        let of = facts.holders.len();
        all.push(format!("{silent} of {of} sources have gone quiet"));
    }
    let mut slow: Vec<_> = facts.holders.iter().zip(names).filter(|(h, _)| h.gives && h.useful > 0).collect();
    slow.sort_by_key(|(holder, _)| holder.rate);
    if slow.iter().all(|(holder, _)| holder.rate < SLOW) {
        all.extend(slow.iter().take(3).map(|(h, name)| format!("source {name} sends at {}", rate(h.rate))));
    }
    if all.is_empty() {
        let of = facts.chunks - facts.missing;
        all.push(format!("downloading normally: {of} of {} chunks, at {}", facts.chunks, rate(facts.rate)));
    }
    all
}

/// Returns a sentence if this node's own limits hold the download back.
fn held_back(now: u64, limits: &Limits) -> Option<String> {
    let down = limits.down.filter(|down| now as f64 >= *down as f64 * AT_LIMIT)?;
    Some(match &limits.rule {
        Some(rule) => format!("limited by your schedule ({rule}): {}", rate(down)),
        None if limits.background => format!("in the background: {} left by others", rate(down)),
        None => format!("limited by your --limit-down of {}", rate(down)),
    })
}

/// Formats a rate for people.
fn rate(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B/s"),
        10_000..10_000_000 => format!("{} kB/s", bytes / 1000),
        _ => format!("{} MB/s", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::HolderFacts;
    use crate::schedule::PeerKey;

    fn holder(useful: u32, rate: u64, gives: bool) -> HolderFacts {
        HolderFacts { peer: PeerKey(1), useful, rate, gives }
    }

    fn say(facts: &Facts, limits: &Limits) -> Vec<String> {
        let names: Vec<String> = (0..facts.holders.len()).map(|n| format!("peer{n}")).collect();
        sentences(facts, &names, limits)
    }

    #[test]
    fn each_cause_has_its_sentence() {
        let none = Limits::default();
        let learned = Facts { learned: true, chunks: 10, missing: 4, ..Facts::default() };
        assert_eq!(say(&learned, &none), ["no reachable peer has any of it"]);
        let mut facts = Facts { holders: vec![holder(3, 40_000, true)], nowhere: Some((8, 1)), ..learned };
        assert_eq!(say(&facts, &none), ["no reachable peer has chunk 8", "source peer0 sends at 40 kB/s"]);
        facts.nowhere = Some((8, 3));
        facts.holders.push(holder(3, 0, false));
        let all = say(&facts, &none);
        assert_eq!(all[0], "no reachable peer has chunk 8 (nor 2 more)");
        assert_eq!(all[1], "1 of 2 sources have gone quiet");
        facts = Facts { holders: vec![holder(4, 5 << 20, true)], nowhere: None, rate: 980_000, ..facts };
        let limited = Limits { down: Some(1_000_000), ..Limits::default() };
        assert_eq!(say(&facts, &limited), ["limited by your --limit-down of 1000 kB/s"]);
        assert_eq!(say(&facts, &none), ["downloading normally: 6 of 10 chunks, at 980 kB/s"]);
        facts.paused = true;
        assert!(say(&facts, &none)[0].contains("disk"));
    }
}
