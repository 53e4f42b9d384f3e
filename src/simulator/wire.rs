//! Connections that the simulator can cut: one for an ordered reset, and all of them when it stops.
//! Used by [`super::Simulator`] and `routes`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Cuts one connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectionSwitch(CancellationToken);

impl ConnectionSwitch {
    /// The client sees a reset; bytes that are not sent yet are lost.
    pub(super) fn cut(&self) {
        self.0.cancel();
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for ConnectionSwitch {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener whose connections are cut when `all` is cancelled.
pub(super) struct CuttableListener {
    pub(super) listener: TcpListener,
    pub(super) all: CancellationToken,
}

impl Listener for CuttableListener {
    type Io = CuttableConnection;
    type Addr = ConnectionSwitch;

    async fn accept(&mut self) -> (CuttableConnection, ConnectionSwitch) {
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                // Small answers must not wait for one another.
                let _ = stream.set_nodelay(true);
                let token = self.all.child_token();
                let cut = Box::pin(token.clone().cancelled_owned());
                return (CuttableConnection { stream, cut }, ConnectionSwitch(token));
            }
            // Most likely no file descriptor is free; others are closed soon.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn local_addr(&self) -> io::Result<ConnectionSwitch> {
        Ok(ConnectionSwitch(self.all.clone()))
    }
}

/// A connection that can be cut.
pub(super) struct CuttableConnection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl CuttableConnection {
    /// True if the connection is cut; wakes the task when that happens.
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let cut = self.cut.as_mut().poll(context).is_ready();
        if cut {
            let _ = self.stream.set_zero_linger();
        }
        cut
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for CuttableConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return reset();
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(context) {
            return reset();
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return reset();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
