//! Transfers in words: where bytes come from, and the line that sums a download up.

use swarm_core::api::event::Done;
use swarm_core::api::status::{Progress, SourceRow};
use swarm_core::distance::Distance;

use crate::progress::Gauge;
use crate::size;

/// Returns the bytes by kind of source: the publisher first, then the others from near to far.
fn shares(sources: &[SourceRow]) -> Vec<(&'static str, u64)> {
    let kind = |source: &SourceRow| match (source.publisher, source.class) {
        (true, _) => "publisher",
        (false, Distance::Host) => "this machine",
        (false, Distance::Lan) => "lan",
        (false, Distance::Site) => "site",
        (false, Distance::Wan) => "wan",
    };
    let sum = |name| sources.iter().filter(|source| kind(source) == name).map(|source| source.bytes).sum();
    let kinds = ["publisher", "this machine", "lan", "site", "wan"];
    kinds.into_iter().map(|name| (name, sum(name))).filter(|(_, bytes)| *bytes > 0).collect()
}

/// Writes `publisher 12%, lan 88%`; `None` if no bytes have arrived yet.
pub(crate) fn shares_text(sources: &[SourceRow]) -> Option<String> {
    let shares = shares(sources);
    let total: u64 = shares.iter().map(|(_, bytes)| bytes).sum();
    let part = |(name, bytes): &(&str, u64)| match rounded_percent(*bytes, total) {
        0 => format!("{name} <1%"),
        percent => format!("{name} {percent}%"),
    };
    (total > 0).then(|| shares.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn rounded_percent(part: u64, total: u64) -> u64 {
    ((u128::from(part) * 200 + u128::from(total)) / (u128::from(total) * 2)) as u64
}

/// Writes how many sources there are of each distance: `lan 5, wan 1`.
fn classes_text(sources: &[SourceRow]) -> Option<String> {
    let count = |class| sources.iter().filter(|source| source.bytes > 0 && source.class == class).count();
    let classes =
        [("host", Distance::Host), ("lan", Distance::Lan), ("site", Distance::Site), ("wan", Distance::Wan)];
    let parts: Vec<_> = classes
        .into_iter()
        .map(|(name, class)| (name, count(class)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns the progress of a download as a bar shows it.
pub(crate) fn gauge(progress: &Progress) -> Gauge {
    let peers = format!("peers {}", progress.holders);
    let with = |detail: Option<String>| detail.map(|detail| format!("{peers} ({detail})"));
    let notes =
        [with(shares_text(&progress.sources)), with(classes_text(&progress.sources)), Some(peers.clone())];
    Gauge {
        done: progress.done,
        total: Some(progress.total),
        rate: Some(progress.rate),
        eta: progress.eta,
        notes: notes.into_iter().flatten().collect(),
    }
}

/// `done 1.2 GiB in 14s · 96 MiB/s · from publisher 12%, lan 88% · uploaded 3.4 GiB`.
pub(crate) fn done_line(done: &Done) -> String {
    let mut parts = vec![format!("done {} in {}", size::bytes(done.len), size::millis(done.took_ms))];
    let fetched: u64 = done.sources.iter().map(|source| source.bytes).sum();
    if fetched > 0 {
        parts.push(size::rate(average(fetched, done.transfer_ms)));
    }
    match shares_text(&done.sources) {
        Some(shares) => parts.push(format!("from {shares}")),
        None if done.len > 0 && done.resumed >= done.len => {
            parts.push("all of it was here already".to_owned())
        }
        None => {}
    }
    if fetched > 0 && done.resumed > 0 {
        parts.push(format!("{} resumed", size::bytes(done.resumed)));
    }
    if done.uploaded > 0 {
        parts.push(format!("uploaded {}", size::bytes(done.uploaded)));
    }
    parts.join(" · ")
}

/// Returns bytes per second.
pub(crate) fn average(bytes: u64, ms: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1000 / u128::from(ms.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(publisher: bool, class: Distance, bytes: u64) -> SourceRow {
        let fields =
            serde_json::json!({"peer": "12D3KooWx", "publisher": publisher, "class": class, "bytes": bytes});
        serde_json::from_value(fields).expect("the fields of a source")
    }

    fn done(sources: &[SourceRow]) -> Done {
        let fields = serde_json::json!({"id": "0".repeat(64), "path": "/tmp/update.bin", "len": 1_288_490_189_u64,
            "resumed": 0, "took_ms": 14_000, "transfer_ms": 12_800, "sources": sources,
            "uploaded": 3_650_722_202_u64});
        serde_json::from_value(fields).expect("the fields of done")
    }

    #[test]
    fn sums_a_download_up() {
        let sources = vec![
            source(true, Distance::Lan, 154_618_823),
            source(false, Distance::Lan, 1_000_000_000),
            source(false, Distance::Lan, 133_871_366),
        ];
        assert_eq!(
            done_line(&done(&sources)),
            "done 1.2 GiB in 14s · 96 MiB/s · from publisher 12%, lan 88% · uploaded 3.4 GiB"
        );
    }

    #[test]
    fn says_what_was_there_before() {
        let mut all_here = done(&[]);
        (all_here.uploaded, all_here.resumed) = (0, all_here.len);
        all_here.took_ms = 120;
        assert_eq!(done_line(&all_here), "done 1.2 GiB in 0.1s · all of it was here already");
        let mut resumed = done(&[source(false, Distance::Host, 1), source(false, Distance::Wan, 999_999)]);
        (resumed.resumed, resumed.uploaded, resumed.transfer_ms) = (1 << 30, 0, 0);
        assert_eq!(
            done_line(&resumed),
            "done 1.2 GiB in 14s · 954 MiB/s · from this machine <1%, wan 100% · 1.0 GiB resumed"
        );
        let mut empty = done(&[]);
        (empty.len, empty.uploaded) = (0, 0);
        assert_eq!(done_line(&empty), "done 0 B in 14s");
    }

    #[test]
    fn bars_say_where_bytes_come_from() {
        let sources = vec![
            source(true, Distance::Lan, 12),
            source(false, Distance::Lan, 44),
            source(false, Distance::Host, 44),
        ];
        let fields = serde_json::json!({"done": 1, "total": 2, "rate": 3, "eta": 4, "holders": 7,
            "sources": sources});
        let mut progress: Progress = serde_json::from_value(fields).expect("the fields of progress");
        assert_eq!(
            gauge(&progress).notes,
            ["peers 7 (publisher 12%, this machine 44%, lan 44%)", "peers 7 (host 1, lan 2)", "peers 7"]
        );
        progress.sources.clear();
        assert_eq!(gauge(&progress).notes, ["peers 7"]);
    }

    #[test]
    fn survives_the_largest_numbers() {
        let sources =
            vec![source(true, Distance::Lan, u64::MAX / 2), source(false, Distance::Wan, u64::MAX / 2)];
        assert_eq!(shares_text(&sources).as_deref(), Some("publisher 50%, wan 50%"));
        assert_eq!(average(u64::MAX, 0), u64::MAX);
    }
}
