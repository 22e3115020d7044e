//! The page of the tracker: its health and its counters. It shows no node, no swarm and no key.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::server::Counters;

/// The most requests at once.
const CLIENTS: usize = 64;
/// The time within which a request must arrive and be answered.
const WITHIN: Duration = Duration::from_secs(10);
/// The age of the counters from which the tracker is considered stalled, and nothing is answered.
const STALLED: Duration = Duration::from_secs(10);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// Answers requests for ever.
pub async fn serve(listener: TcpListener, numbers: watch::Receiver<Counters>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "taking an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let numbers = numbers.clone();
        open.spawn(async move {
            let answer = service_fn(|request| {
                let response = respond(&request, &numbers.borrow());
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(WITHIN)
                .max_buf_size(HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), answer);
            let _ = tokio::time::timeout(WITHIN * 2, connection).await;
            drop(place);
        });
    }
}

fn respond(request: &Request<Incoming>, numbers: &Counters) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" if numbers.at.is_some_and(|at| at.elapsed() < STALLED) => {
            page(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned())
        }
        "/healthz" => {
            let stalled = "the tracker has stopped answering nodes\n".to_owned();
            page(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", stalled)
        }
        "/metrics" => page(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics(numbers),
        ),
        "/" => page(StatusCode::OK, "text/html; charset=utf-8", status(numbers)),
        _ => page(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "not found: use /, /healthz or /metrics\n".to_owned(),
        ),
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert(
        "content-security-policy",
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

/// Returns the counters in the format of OpenMetrics 1.0.
fn metrics(numbers: &Counters) -> String {
    let mut registry = Registry::with_prefix("swarm_tracker");
    for (name, help, value) in [
        ("uptime_seconds", "Since its start", numbers.uptime),
        ("nodes", "Nodes it knows", numbers.nodes),
        ("swarms", "Swarms it knows", numbers.swarms),
        ("members", "Members over all swarms", numbers.members),
        ("connections", "Open connections", numbers.connections),
        ("interval_seconds", "From one announcement of a node to the next", numbers.interval),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
    for (name, help, value) in [
        ("announcements", "Announcements answered", numbers.announcements),
        (
            "turned_away",
            "Announcements refused: the tracker is full, or one node sent too many",
            numbers.turned_away,
        ),
        ("bad_messages", "Invalid messages", numbers.bad),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let refused = Family::<Vec<(String, String)>, prometheus_client::metrics::counter::Counter>::default();
    for (reason, count) in &numbers.refused {
        refused.get_or_create(&vec![("reason".to_owned(), reason.clone())]).inc_by(*count);
    }
    registry.register("refused_connections", "Connections refused", refused);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// Returns the counters as a page for a person.
fn status(numbers: &Counters) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        let _ = write!(rows, "<tr><th>{name}<td>{value}");
    };
    row("nodes", numbers.nodes.to_string());
    row("swarms", numbers.swarms.to_string());
    row("members of swarms", numbers.members.to_string());
    row("open connections", numbers.connections.to_string());
    row("announcements a second", numbers.rate.to_string());
    row("announcements", numbers.announcements.to_string());
    row("nodes announce every", format!("{} s", numbers.interval));
    row("up", uptime(numbers.uptime));
    row("turned away", numbers.turned_away.to_string());
    row("invalid messages", numbers.bad.to_string());
    for (reason, count) in numbers.refused.iter().filter(|(_, count)| *count > 0) {
        row(&format!("refused: {reason}"), count.to_string());
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content='width=device-width'><title>swarm tracker</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:2em auto;padding:0 1em;\
         color-scheme:light dark}}table{{border-collapse:collapse;width:100%}}\
         th{{text-align:left;font-weight:400;padding:.25em 0}}td{{text-align:right;\
         font-variant-numeric:tabular-nums}}tr{{border-bottom:1px solid #8884}}</style>\
         <h1>swarm tracker</h1><p>It works. This page shows counts only, no nodes and no contents.\
         <table>{rows}</table><p><a href=/metrics>metrics</a> for Prometheus, <a href=/healthz>healthz</a> for \
         whoever watches.</html>\n"
    )
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
