//! The WebSocket on which clients send their events: taken, acknowledged as the client expects, and dropped.

use std::sync::Arc;

use admit_http::{Caller, Role, Tokens};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::app::Prefect;
use crate::bounds::{AUTH_TIMEOUT, MAX_EVENT_BYTES};

/// Where it is.
pub(crate) const PATH: &str = "/api/events/in";
/// What clients that say who they are ask for.
const PROTOCOL: &str = "prefect";

/// Answers a request for the WebSocket.
pub(crate) async fn enter(app: &Prefect, caller: &Caller, request: Request) -> Response {
    let (mut head, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let is_known = caller.require(Role::Acquire).is_ok();
    let tokens = Arc::clone(&app.tokens);
    let upgrade =
        upgrade.max_message_size(MAX_EVENT_BYTES).max_frame_size(MAX_EVENT_BYTES).protocols([PROTOCOL]);
    upgrade.on_upgrade(move |socket| listen(socket, is_known, tokens))
}

async fn listen(mut socket: WebSocket, is_known: bool, tokens: Arc<Tokens>) {
    let speaks = socket.protocol().is_some();
    if !speaks && !is_known {
        return close(socket, "'prefect' subprotocol required when auth is configured").await;
    }
    // Old clients do not say who they are.
    if speaks {
        let first = tokio::time::timeout(AUTH_TIMEOUT, first_message(&mut socket)).await;
        let Ok(Some(first)) = first else { return };
        if let Err(reason) = welcome(&first, is_known, &tokens) {
            return close(socket, reason).await;
        }
        if socket.send(Message::text(r#"{"type":"auth_success"}"#)).await.is_err() {
            return;
        }
    }
    // Pings are answered by the socket itself.
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}

/// The first message that carries something: clients ping before it, which the socket answers by itself.
async fn first_message(socket: &mut WebSocket) -> Option<Message> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return Some(message),
        }
    }
}

/// Whether the first message says who sends it, and whether they may.
fn welcome(first: &Message, is_known: bool, tokens: &Tokens) -> Result<(), &'static str> {
    let text = first.to_text().unwrap_or_default();
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    if message["type"] != "auth" {
        return Err("Expected 'auth' message");
    }
    if is_known {
        return Ok(());
    }
    // A client that has a key (PREFECT_API_KEY) does not send it here. What it sends is not looked at, so there is
    // nothing to keep it from; and refused it would try again for every use of a slot.
    let Some(secret) = message["token"].as_str().filter(|secret| !secret.is_empty()) else { return Ok(()) };
    // What a client has for Basic is the name and the password in one.
    let parts = [Some(secret), secret.split_once(':').map(|(_, password)| password)];
    let known = parts.into_iter().flatten().any(|secret| tokens.find(secret).is_some());
    if known { Ok(()) } else { Err("Invalid token") }
}

async fn close(mut socket: WebSocket, reason: &'static str) {
    let frame = CloseFrame { code: close_code::POLICY, reason: reason.into() };
    // A client that is gone needs no goodbye.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
