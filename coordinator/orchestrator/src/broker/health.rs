//! The health of the server's store: its report over HTTP on loopback, and whether its disk can be written.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Enough for an answer from this machine.
const LIMIT: Duration = Duration::from_secs(1);
/// A report is a few lines.
const LONGEST: u64 = 64 * 1024;
/// A disk with less free space than this counts as full.
const PROBE: usize = 8 << 20;

/// What the server reports to be wrong; `None` when it is healthy, or does not answer, as while it starts.
pub(super) async fn complaint(port: u16, token: &str) -> Option<String> {
    let report = tokio::time::timeout(LIMIT, ask(port, token)).await.ok()?.ok()?;
    complaint_in(&report)
}

async fn ask(port: u16, token: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET /{token}/healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut report = Vec::new();
    stream.take(LONGEST).read_to_end(&mut report).await?;
    Ok(String::from_utf8_lossy(&report).into_owned())
}

/// The error in an HTTP answer other than 200.
fn complaint_in(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?;
    if status == "200" {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    Some(body["error"].as_str().map_or_else(|| format!("its health report is {status}"), str::to_owned))
}

/// Writes a file of some size into `folder` and removes it again.
pub(super) fn probe(folder: &Path) -> std::io::Result<()> {
    let path = folder.join("probe");
    let written = std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(&vec![0; PROBE]).and_then(|()| file.sync_data()));
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let answer = |status: &str, body: &str| format!("HTTP/1.0 {status} X\r\nA: b\r\n\r\n{body}");
        assert_eq!(complaint_in(&answer("200", r#"{"status":"ok"}"#)), None);
        let ill = answer("503", r#"{"status":"unavailable","error":"no space left on device"}"#);
        assert_eq!(complaint_in(&ill).as_deref(), Some("no space left on device"));
        assert_eq!(complaint_in(&answer("500", "?")).as_deref(), Some("its health report is 500"));
        assert_eq!(complaint_in("no HTTP"), None);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("none")).is_err());
    }
}
