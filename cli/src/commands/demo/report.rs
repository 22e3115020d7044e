//! The result of a demo: the bytes that each getter got from each other process.

use std::time::Duration;

use serde::Serialize;
use swarm_core::api::status::SourceRow;

use crate::exit::Outcome;
use crate::json::About;
use crate::size;
use crate::table::Column;
use crate::ui::Ui;

/// How many fetch.
pub(super) const GETTERS: usize = 5;

/// The result of a demo.
pub(super) struct Report {
    /// Of the file.
    pub(super) id: String,
    /// Its bytes.
    pub(super) len: u64,
    /// The bytes that the publisher has sent, by its own count.
    pub(super) publisher_sent: Option<u64>,
    /// One for each getter.
    pub(super) copies: Vec<Copied>,
}

/// One copy.
#[derive(Debug, Serialize)]
pub(super) struct Copied {
    name: String,
    /// From the start of its process until it said it was done.
    seconds: f64,
    /// Its bytes were hashed again by us and are right.
    verified: bool,
    from_publisher: u64,
    /// From each getter, in order.
    from_getters: Vec<u64>,
    /// From peers that are neither.
    from_others: u64,
}

/// The report as JSON.
#[derive(Serialize)]
struct ReportLine<'a> {
    event: &'static str,
    ok: bool,
    id: &'a str,
    len: u64,
    publisher_sent: Option<u64>,
    getters: &'a [Copied],
}

impl Copied {
    /// `peers` are the ids of the publisher and then the getters.
    pub(super) fn new(
        name: &str,
        took: Duration,
        verified: bool,
        sources: &[SourceRow],
        peers: &[String],
    ) -> Self {
        let from = |peer: &String| {
            sources.iter().filter(|source| source.peer == *peer).map(|source| source.bytes).sum()
        };
        let others = sources.iter().filter(|source| !peers.contains(&source.peer)).map(|source| source.bytes);
        Self {
            name: name.to_owned(),
            seconds: took.as_secs_f64(),
            verified,
            from_publisher: peers.first().map_or(0, from),
            from_getters: peers.iter().skip(1).map(from).collect(),
            from_others: others.sum(),
        }
    }
}

impl Report {
    /// Every copy is right.
    pub(super) fn ok(&self) -> bool {
        self.copies.len() == GETTERS && self.copies.iter().all(|copy| copy.verified)
    }

    /// Prints it, with the commands to do the same by hand.
    pub(super) fn show(&self, ui: &Ui) -> Outcome {
        if ui.is_json() {
            let (ok, id, len, publisher_sent) = (self.ok(), self.id.as_str(), self.len, self.publisher_sent);
            let line = ReportLine { event: "demo", ok, id, len, publisher_sent, getters: &self.copies };
            return ui.object(About::It, &line);
        }
        let (unit, bytes) = unit(self.len);
        ui.talk("");
        ui.table(&COLUMNS, &self.rows(bytes))?;
        ui.talk(&format!("({unit} from the publisher and from each getter)"));
        if let Some(sent) = self.publisher_sent {
            let all = self.len.saturating_mul(self.copies.len() as u64);
            let (sent, all) = (size::bytes(sent), size::bytes(all));
            ui.talk(&format!("the publisher sent {sent} for {all} of copies; {}", self.verdict()));
        }
        for line in BY_HAND {
            ui.talk(line);
        }
        Ok(())
    }

    fn verdict(&self) -> String {
        let good = self.copies.iter().filter(|copy| copy.verified).count();
        if self.ok() {
            format!("all {good} copies verified")
        } else {
            format!("ONLY {good} of {GETTERS} copies verified")
        }
    }

    fn rows(&self, unit: u64) -> Vec<Vec<String>> {
        let number = |bytes: u64| {
            if bytes == 0 { "-".to_owned() } else { format!("{:.1}", bytes as f64 / unit as f64) }
        };
        let row = |copy: &Copied| {
            let verified = if copy.verified { "yes" } else { "NO" };
            let mut row = vec![copy.name.clone(), format!("{:.2}", copy.seconds), verified.to_owned()];
            row.push(number(copy.from_publisher));
            row.extend(copy.from_getters.iter().map(|&bytes| number(bytes)));
            row.resize(COLUMNS.len(), String::new());
            row
        };
        self.copies.iter().map(row).collect()
    }
}

const COLUMNS: [Column; 4 + GETTERS] = [
    Column::Left("GETTER"),
    Column::Right("SECONDS"),
    Column::Left("VERIFIED"),
    Column::Right("PUBLISHER"),
    Column::Right("FROM 1"),
    Column::Right("FROM 2"),
    Column::Right("FROM 3"),
    Column::Right("FROM 4"),
    Column::Right("FROM 5"),
];

const BY_HAND: [&str; 5] = [
    "",
    "To do the same on two machines of one network:",
    "  swarm publish FILE     prints an id and shares the file until Ctrl-C",
    "  swarm get ID           on the other machine, with that id",
    "publish prints a line with its addresses, too: use it if they do not connect",
];

/// The unit in which a share of the file is a number of a few digits.
fn unit(len: u64) -> (&'static str, u64) {
    match len {
        0..0x80_0000 => ("KiB", 1 << 10),
        0x80_0000..0x2_0000_0000 => ("MiB", 1 << 20),
        _ => ("GiB", 1 << 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    fn copied(number: usize, verified: bool) -> Copied {
        let peers: Vec<String> = ["p", "1", "2", "3", "4", "5"].map(str::to_owned).to_vec();
        let source = |peer: &str, bytes: u64| -> SourceRow {
            let fields =
                serde_json::json!({"peer": peer, "publisher": peer == "p", "class": "host", "bytes": bytes});
            serde_json::from_value(fields).expect("the fields of a source")
        };
        let sources =
            [source("p", 13 << 20), source("2", 50 << 20), source("2", 1 << 20), source("stranger", 7)];
        Copied::new(&format!("getter {number}"), Duration::from_millis(1415), verified, &sources, &peers)
    }

    #[test]
    fn the_table_fits_80_columns() {
        let copies = (1..=GETTERS).map(|number| copied(number, true)).collect();
        let report = Report { id: String::new(), len: 64 << 20, publisher_sent: None, copies };
        assert!(report.ok());
        let lines = table::lines(&COLUMNS, &report.rows(1 << 20), Some(79));
        assert_eq!(
            lines[1],
            "getter 1     1.42  yes            13.0       -    51.0       -       -       -"
        );
        assert!(lines.iter().all(|line| line.len() <= 79), "{lines:#?}");
        assert!(BY_HAND.iter().all(|line| line.len() < 80));
    }

    #[test]
    fn one_wrong_or_missing_copy_is_enough() {
        let report = |copies| Report { id: String::new(), len: 1, publisher_sent: None, copies };
        let four = || (1..5).map(|number| copied(number, true)).collect::<Vec<_>>();
        assert!(!report(four()).ok());
        assert!(!report(four().into_iter().chain([copied(5, false)]).collect()).ok());
        assert!(report(four().into_iter().chain([copied(5, true)]).collect()).ok());
        assert_eq!(copied(1, true).from_others, 7);
    }
}
