//! Tests with nginx.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

/// The configuration: one process, no files outside its folder. Each request is written to `LOG`: number of
/// the connection, number of the request on it, status, range.
const CONFIG: &str = "
daemon off;
master_process off;
pid pid;
error_log stderr error;
events {}
http {
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
    log_format ranges '$connection $connection_requests $status $http_range';
    access_log syslog:server=LOG,nohostname ranges;
    gzip on;
    gzip_types *;
    server {
        listen 127.0.0.1:PORT;
        root files;
        location = /moved { return 302 /file; }
        location = /secret { return 403; }
        location = /whole { max_ranges 0; try_files /file =404; }
    }
}
";

struct Nginx {
    process: Child,
    port: u16,
    log: UdpSocket,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nginx {
    /// Starts nginx; `None` where it is not installed.
    async fn start() -> Option<Self> {
        let binary = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx", "/opt/homebrew/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        std::fs::write(folder.path().join("files/file"), file()).unwrap();
        std::fs::write(folder.path().join("files/empty"), "").unwrap();
        let log = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            // The port is free now. If another process takes it first, another port is tried.
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let config = CONFIG
                .replace("PORT", &free.port().to_string())
                .replace("LOG", &log.local_addr().unwrap().to_string());
            std::fs::write(folder.path().join("conf"), config).unwrap();
            let mut process = Command::new(binary)
                .args(["-c", "conf", "-e", "stderr", "-p"])
                .arg(folder.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while process.try_wait().unwrap().is_none() {
                if TcpStream::connect(free).await.is_ok() {
                    return Some(Self { process, port: free.port(), log, _folder: folder });
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn seed(&self, path: &str) -> WebSeed {
        WebSeed::within(network(), &format!("http://127.0.0.1:{}{path}", self.port), true).unwrap()
    }

    /// Waits for the next line of the log that is about a request.
    async fn logged(&self) -> [String; 4] {
        let mut line = [0; 1024];
        let length = timeout(LONG, self.log.recv(&mut line)).await.expect("a line").unwrap();
        let line = String::from_utf8_lossy(&line[..length]).into_owned();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        words[words.len() - 4..].to_vec().try_into().unwrap()
    }
}

#[tokio::test]
async fn ranges_of_a_real_server_come_over_one_connection() {
    let Some(nginx) = Nginx::start().await else { return };
    let (seed, file) = (nginx.seed("/file"), file());
    assert_eq!(seed.len().await.unwrap(), 100_000);
    let ranges = [0..100_000, 99_990..100_000, 1..2, 50_000..90_000];
    for range in ranges.clone() {
        let (got, ended) = read(&seed, range.clone()).await;
        ended.unwrap();
        assert!(got == file[range.start as usize..range.end as usize], "{range:?}");
    }
    let [connection, number, status, range] = nginx.logged().await;
    assert_eq!([number, status, range], ["1", "206", "bytes=0-0"]);
    for (index, range) in ranges.into_iter().enumerate() {
        let expected = format!("{connection} {} 206 bytes={}-{}", index + 2, range.start, range.end - 1);
        assert_eq!(nginx.logged().await.join(" "), expected);
    }
}

#[tokio::test]
async fn what_a_real_server_says_is_understood() {
    let Some(nginx) = Nginx::start().await else { return };
    let moved = nginx.seed("/moved");
    for _ in 0..3 {
        assert_eq!(read(&moved, 10..20).await.0, file()[10..20]);
    }
    // Both requests of a round use one connection.
    let lines = [nginx.logged().await, nginx.logged().await, nginx.logged().await, nginx.logged().await];
    assert_eq!(lines.each_ref().map(|line| line[1].as_str()), ["1", "2", "3", "4"]);
    assert_eq!(lines.each_ref().map(|line| line[2].as_str()), ["302", "206", "302", "206"]);
    assert!(lines.iter().all(|line| line[0] == lines[0][0]));

    assert!(matches!(refusal(&nginx.seed("/nothing"), 0..1).await, WebSeedError::Missing(404)));
    assert!(matches!(refusal(&nginx.seed("/secret"), 0..1).await, WebSeedError::Refused(403)));
    assert!(matches!(refusal(&nginx.seed("/whole"), 0..1).await, WebSeedError::NoRanges));
    let why = refusal(&nginx.seed("/file"), 99_999..100_001).await;
    assert!(matches!(why, WebSeedError::PastEnd { length: Some(100_000) }), "{why}");
    let why = refusal(&nginx.seed("/file"), 200_000..200_001).await;
    assert!(matches!(why, WebSeedError::PastEnd { length: Some(100_000) }), "{why}");
    assert_eq!(nginx.seed("/empty").len().await.unwrap(), 0);
}
