//! A TCP proxy between one worker and the server that can block, delay and reset connections.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Nothing passes, but nothing is lost: it arrives once the proxy is open again.
    Blocked,
    /// Every piece is delayed by this time.
    Delayed(Duration),
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// A counter: when it changes, all connections are reset.
    resets: u64,
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

const PIECE: usize = 64 * 1024;

impl Proxy {
    /// Listens on a free loopback port and passes everything on to the port `server` on this machine.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (state, seen) = watch::channel(State { mode: Mode::Open, resets: 0 });
        let task = tokio::spawn(listen(listener, server, seen));
        Ok(Self { port, state, task })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the mode of all connections.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Resets every open connection.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, server: u16, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new(); // They end with this task.
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    connections.spawn(carry(near, server, state.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the proxy cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection. If the server is down, the worker's connection is closed.
async fn carry(near: TcpStream, server: u16, mut state: watch::Receiver<State>) {
    let mine = state.borrow_and_update().resets;
    if until_unblocked(&mut state).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let (mut near, mut far) = (near, far);
    let (near_reads, near_writes) = near.split();
    let (far_reads, far_writes) = far.split();
    let was_reset = tokio::select! {
        _ = pump(near_reads, far_writes, state.clone()) => false,
        _ = pump(far_reads, near_writes, state.clone()) => false,
        changed = state.wait_for(|state| state.resets != mine) => changed.is_ok(),
    };
    if was_reset {
        for end in [&near, &far] {
            if let Err(error) = end.set_zero_linger() {
                tracing::debug!(%error, "a connection was closed, not reset");
            }
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        until_unblocked(&mut state).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let mode = state.borrow().mode;
        if let Mode::Delayed(by) = mode {
            tokio::time::sleep(by).await;
        }
        to.write_all(&piece[..read]).await?;
    }
}

/// Waits while the proxy is blocked. Fails if the proxy is gone.
async fn until_unblocked(state: &mut watch::Receiver<State>) -> io::Result<()> {
    let unblocked = state.wait_for(|state| state.mode != Mode::Blocked).await;
    unblocked.map(|_| ()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, and a connection to it through a proxy.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        let proxy = Proxy::start(port).await.unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        (proxy, stream)
    }

    async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, text);
        Ok(())
    }

    #[tokio::test]
    async fn bytes_sent_while_blocked_arrive_late() {
        let (proxy, mut stream) = echo().await;
        round_trip(&mut stream, b"before").await.unwrap();
        proxy.set(Mode::Blocked);
        let blocked = tokio::time::timeout(Duration::from_millis(200), round_trip(&mut stream, b"in")).await;
        assert!(blocked.is_err());
        proxy.set(Mode::Open);
        let mut late = [0; 2];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"in");
    }

    #[tokio::test]
    async fn a_reset_is_seen_and_the_next_connection_works() {
        let (proxy, mut stream) = echo().await;
        round_trip(&mut stream, b"before").await.unwrap();
        proxy.reset();
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        round_trip(&mut again, b"after").await.unwrap();
    }

    #[tokio::test]
    async fn both_directions_are_delayed() {
        let (proxy, mut stream) = echo().await;
        proxy.set(Mode::Delayed(Duration::from_millis(60)));
        let start = std::time::Instant::now();
        round_trip(&mut stream, b"slow").await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(120));
    }
}
