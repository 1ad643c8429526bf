//! A WebSocket of a script plugin: between the client and the stream of its request (`worker-shim/PROTOCOL.md`, "WebSockets").

use crate::worker::link::{Exchange, Failure, Upload};
use buntime_plugin::Context;
use buntime_plugin::websocket::{Close, MAX_MESSAGE, Message, Receiver, Sender, WebSocket};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;

const HEADER: usize = 5;
/// A message up to this size is copied behind its header; a larger one goes as a piece of its own.
const COPIED: usize = 16 * 1024;
/// Of a ping, a pong or a close (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// The kinds of messages on the link.
mod kind {
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// Why nothing more comes from the plugin.
enum End {
    /// It has closed the socket.
    Close(Close),
    /// It has cut it off.
    Cut,
    /// Its process is gone.
    Died,
    /// It said what cannot be.
    Wrong(&'static str),
}

/// What a plugin says on a socket.
struct Incoming {
    exchange: Exchange,
    buffer: BytesMut,
}

/// Carries a socket until it is closed.
pub async fn carry(
    opening: impl Future<Output = io::Result<WebSocket>>,
    exchange: Exchange,
    upload: Upload,
    context: Arc<Context>,
) {
    // Where the connection does not come, the end of the exchange tells the plugin.
    let Ok(socket) = opening.await else { return };
    let (mut receiver, sender) = socket.split();
    let mut incoming = Incoming { exchange, buffer: BytesMut::new() };
    let end = tokio::select! {
        () = to_plugin(&mut receiver, &upload) => return,
        end = to_client(&mut incoming, &sender) => end,
    };
    drop(incoming);
    let (code, reason) = match end {
        End::Close(Close { code, reason }) => (code, reason),
        End::Cut => return,
        End::Died => (1011, "the service ended".to_owned()),
        End::Wrong(what) => {
            tracing::warn!(target: "buntime::plugin", plugin = context.name(), what, "a socket was closed");
            (1011, "the service failed".to_owned())
        }
    };
    sender.close(receiver, code, &reason).await;
}

/// Returns when the client, or the runtime, has closed the socket, and the plugin was told.
async fn to_plugin(receiver: &mut Receiver, upload: &Upload) {
    while let Some(Ok(message)) = receiver.recv().await {
        let is_last = matches!(message, Message::Close(_));
        let (kind, payload) = match message {
            Message::Text(text) => (kind::TEXT, Bytes::from(text)),
            Message::Binary(bytes) => (kind::BINARY, bytes),
            Message::Ping(payload) => (kind::PING, payload),
            Message::Pong(payload) => (kind::PONG, payload),
            Message::Close(Close { code, reason }) => {
                let mut payload = BytesMut::with_capacity(2 + reason.len());
                payload.put_u16(code);
                payload.put_slice(reason.as_bytes());
                (kind::CLOSE, payload.freeze())
            }
        };
        if !send(upload, kind, payload).await {
            // The plugin's side has ended: whoever reads it says why.
            return std::future::pending().await;
        }
        if is_last {
            upload.finish();
            return;
        }
    }
    // What is dropped now tells the plugin that the connection broke.
}

async fn send(upload: &Upload, kind: u8, payload: Bytes) -> bool {
    let small = payload.len() <= COPIED;
    let mut head = BytesMut::with_capacity(HEADER + if small { payload.len() } else { 0 });
    head.put_u32(payload.len() as u32); // at most MAX_MESSAGE
    head.put_u8(kind);
    if small {
        head.put_slice(&payload);
        return upload.send(head.freeze()).await;
    }
    upload.send(head.freeze()).await && upload.send(payload).await
}

/// Returns when nothing more comes from the plugin. What the client does is not its business.
async fn to_client(incoming: &mut Incoming, sender: &Sender) -> End {
    loop {
        let message = match incoming.next().await {
            Ok(Message::Close(close)) => return End::Close(close),
            Ok(message) => message,
            Err(end) => return end,
        };
        if sender.send(message).await.is_err() {
            // Whoever reads from the client finds out as well, and knows more.
            return std::future::pending().await;
        }
    }
}

impl Incoming {
    async fn next(&mut self) -> Result<Message, End> {
        while self.buffer.len() < HEADER {
            self.more().await?;
        }
        let (length, kind) = (self.buffer.get_u32() as usize, self.buffer.get_u8());
        let most = if matches!(kind, kind::TEXT | kind::BINARY) { MAX_MESSAGE } else { MAX_CONTROL };
        if length > most {
            return Err(End::Wrong("it sends a message that is too large"));
        }
        while self.buffer.len() < length {
            self.more().await?;
        }
        let mut payload = self.buffer.split_to(length).freeze();
        let text = |bytes: Bytes| {
            String::from_utf8(bytes.into()).map_err(|_| End::Wrong("it sends a text that is not UTF-8"))
        };
        match kind {
            kind::TEXT => text(payload).map(Message::Text),
            kind::BINARY => Ok(Message::Binary(payload)),
            kind::PING => Ok(Message::Ping(payload)),
            kind::PONG => Ok(Message::Pong(payload)),
            kind::CLOSE if length >= 2 => {
                let code = payload.get_u16();
                text(payload).map(|reason| Message::Close(Close { code, reason }))
            }
            _ => Err(End::Wrong("it sends a message of an unknown kind")),
        }
    }

    async fn more(&mut self) -> Result<(), End> {
        match poll_fn(|cx| self.exchange.poll_body(cx)).await {
            Some(Ok(piece)) => {
                self.buffer.extend_from_slice(&piece);
                Ok(())
            }
            None if self.buffer.is_empty() => Err(End::Close(Close { code: 1000, reason: String::new() })),
            None => Err(End::Wrong("it ends in the middle of a message")),
            Some(Err(Failure::Gone { .. })) => Err(End::Died),
            Some(Err(_)) => Err(End::Cut),
        }
    }
}
