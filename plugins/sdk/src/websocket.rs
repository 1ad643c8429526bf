//! WebSockets (RFC 6455): a request that asks for one, answered and taken.
//!
//! ```text
//! fn route(&self, mut request: Request) -> BoxFuture<'_, Result<Response>> {
//!     let Some(upgrade) = request.upgrade() else { return … };
//!     let (response, opening) = match upgrade.websocket(Options::default()) { … };
//!     self.context.spawn(async move {
//!         let Ok(mut socket) = opening.await else { return };
//!         while let Some(Ok(message)) = socket.recv().await {
//!             if let Message::Text(_) | Message::Binary(_) = message { let _ = socket.send(message).await; }
//!         }
//!     });
//!     Ok(response)
//! }
//! ```

mod receive;
mod shared;

pub use self::receive::Receiver;
use self::shared::Shared;
use crate::{Offer, Problem, Response, Upgrade};
use bytes::Bytes;
use http::HeaderValue;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_websockets::{CloseCode, proto};

/// How long the other end may take to answer a close.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Largest message in bytes, unless said otherwise: 16 MiB.
pub const MAX_MESSAGE: usize = 16 << 20;
/// Longest reason of a close, in bytes (RFC 6455 §5.5).
const MAX_REASON: usize = 123;
/// Longest payload of a ping, in bytes.
const MAX_PING: usize = 125;

/// How a socket is spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest message that is taken, in bytes. A larger one closes the socket with 1009.
    pub max_message: usize,
    /// How long the client may be silent: after half of it it is sent a ping, at its end it is gone. None: for ever.
    pub idle: Option<Duration>,
    /// One of [`Upgrade::protocols`].
    pub protocol: Option<HeaderValue>,
}

/// What is said on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Bytes),
    /// One that comes has been answered already. At most 125 bytes are sent.
    Ping(Bytes),
    Pong(Bytes),
    /// The last one. It has been answered, or is the answer.
    Close(Close),
}

/// How a socket was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// 1005: none was said.
    pub code: u16,
    pub reason: String,
}

/// Why a socket has ended without a close.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// It was closed with 1009.
    #[error("a message is larger than is taken")]
    TooLarge,
    /// It was closed with 1002 or 1007.
    #[error("the client does not keep to the protocol: {0}")]
    Protocol(String),
    #[error("the client was silent for too long")]
    Idle,
    #[error("the socket is closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// An open socket. Dropped, it is cut off.
#[derive(Debug)]
pub struct WebSocket {
    receiver: Receiver,
    sender: Sender,
}

/// The sending half of a socket.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Shared>);

impl Default for Options {
    fn default() -> Options {
        Options { max_message: MAX_MESSAGE, idle: Some(Duration::from_secs(120)), protocol: None }
    }
}

impl Upgrade {
    /// Opens the WebSocket that the client asks for: with the answer, and the socket once that has gone out. The socket closes by
    /// itself, while it is received from, when the server shuts down (1001) or the plugin is replaced (1012).
    ///
    /// # Errors
    /// The client does not ask for one as it should; the problem is the answer then.
    pub fn websocket(
        self,
        options: Options,
    ) -> Result<(Response, impl Future<Output = io::Result<WebSocket>> + Send + 'static), Problem> {
        let (response, Offer { connection, ending }) = self.shake(options.protocol.clone())?;
        let opening = async move {
            let limits = proto::Limits::default().max_payload_len(Some(options.max_message));
            let builder = tokio_websockets::ServerBuilder::new().limits(limits);
            let shared = Arc::new(Shared::new(builder.serve(connection.await?)));
            let receiver = Receiver::new(Arc::clone(&shared), ending, options.idle);
            Ok(WebSocket { receiver, sender: Sender(shared) })
        };
        Ok((response, opening))
    }
}

impl WebSocket {
    /// The next message; none after the last. A close is the last, as is an error. Loses nothing if it is not awaited to its end.
    pub async fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        self.receiver.recv().await
    }

    /// Sends a message, as fast as the client takes it.
    ///
    /// # Errors
    /// The socket is closed, or its connection broke.
    pub async fn send(&self, message: Message) -> Result<(), SocketError> {
        self.sender.send(message).await
    }

    /// Closes it and waits, for a moment, until the client has answered.
    pub async fn close(self, code: u16, reason: &str) {
        let (receiver, sender) = self.split();
        sender.close(receiver, code, reason).await;
    }

    pub fn split(self) -> (Receiver, Sender) {
        (self.receiver, self.sender)
    }
}

impl Sender {
    /// Sends a message, as fast as the client takes it. After [`Message::Close`] nothing can be sent; the answer is received.
    ///
    /// # Errors
    /// The socket is closed, or its connection broke.
    pub async fn send(&self, message: Message) -> Result<(), SocketError> {
        let mut message = Some(message.into_frame());
        poll_fn(|cx| self.0.poll_send(cx, &mut message)).await
    }

    /// Closes the socket and waits, for a moment, until the client has answered.
    pub async fn close(&self, mut receiver: Receiver, code: u16, reason: &str) {
        let closing = async {
            let close = Message::Close(Close { code, reason: reason.to_owned() });
            if self.send(close).await.is_ok() {
                while let Some(Ok(_)) = receiver.recv().await {}
            }
        };
        // Who does not answer is cut off.
        let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
    }
}

impl Message {
    /// What is too long for its kind is cut.
    fn into_frame(self) -> tokio_websockets::Message {
        use tokio_websockets::Message as Frame;
        let short = |payload: Bytes| payload.slice(..payload.len().min(MAX_PING));
        match self {
            Message::Text(text) => Frame::text(Bytes::from(text)),
            Message::Binary(bytes) => Frame::binary(bytes),
            Message::Ping(payload) => Frame::ping(short(payload)),
            Message::Pong(payload) => Frame::pong(short(payload)),
            Message::Close(Close { code, reason }) => {
                let code = CloseCode::try_from(code).ok().filter(|code| !code.is_reserved());
                Frame::close(code, &reason[..reason.floor_char_boundary(MAX_REASON)])
            }
        }
    }

    fn from_frame(frame: tokio_websockets::Message) -> Message {
        if let Some((code, reason)) = frame.as_close() {
            return Message::Close(Close { code: code.into(), reason: reason.to_owned() });
        }
        let (is_text, is_ping, is_pong) = (frame.is_text(), frame.is_ping(), frame.is_pong());
        let payload = Bytes::from(frame.into_payload());
        match () {
            // It was checked as it came.
            () if is_text => Message::Text(String::from_utf8(payload.into()).unwrap_or_default()),
            () if is_ping => Message::Ping(payload),
            () if is_pong => Message::Pong(payload),
            () => Message::Binary(payload),
        }
    }
}

impl From<tokio_websockets::Error> for SocketError {
    fn from(error: tokio_websockets::Error) -> SocketError {
        match error {
            tokio_websockets::Error::PayloadTooLong { .. } => SocketError::TooLarge,
            tokio_websockets::Error::Protocol(error) => SocketError::Protocol(error.to_string()),
            tokio_websockets::Error::AlreadyClosed => SocketError::Closed,
            tokio_websockets::Error::Io(error) => SocketError::Io(error),
            other => SocketError::Io(io::Error::other(other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
