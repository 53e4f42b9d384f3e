//! Builds the requests of all endpoints. Pure; `client` sends them, page by page.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::paging::Policy;
use super::problem::shown;
use crate::config::ReportFormat;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// The lists of the API. The sender learns the longest page of each list separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum List {
    Spaces,
    Rooms,
    Calls,
    Records,
}

impl List {
    /// The evidence that may end the list. Spaces and rooms need proof, because a missing room would lose its lessons
    /// silently; the extra requests are few.
    pub(super) fn policy(self) -> Policy {
        match self {
            Self::Spaces | Self::Rooms => Policy::Proof,
            Self::Calls | Self::Records => Policy::Short,
        }
    }
}

/// The endpoint that a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Spaces,
    Rooms,
    Calls,
    Records,
    JsonReport,
    XlsxReport,
    Link,
    Meta,
    Webhook,
}

impl Endpoint {
    /// The endpoint's name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Spaces => "spaces",
            Self::Rooms => "rooms",
            Self::Calls => "calls",
            Self::Records => "records",
            Self::JsonReport | Self::XlsxReport => "report",
            Self::Link => "link",
            Self::Meta => "meta",
            Self::Webhook => "webhook",
        }
    }
}

/// The object that a request concerns. If it keeps failing, requests in its scope stop: see `circuits`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RequestScope {
    /// A space.
    Space(SpaceId),
    /// A room of a space.
    Room(SpaceId, RoomId),
    /// The downloads of a space's recordings, which go to another host than the API's.
    Downloads(SpaceId),
}

impl RequestScope {
    /// The space.
    pub(super) fn space(&self) -> &SpaceId {
        match self {
            Self::Space(space) | Self::Room(space, _) | Self::Downloads(space) => space,
        }
    }

    /// The room, if the request concerns only one.
    pub(super) fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Room(_, room) => Some(room),
            Self::Space(_) | Self::Downloads(_) => None,
        }
    }
}

/// A request: method, path, query and body, and the name that errors give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    about: String,
    endpoint: Endpoint,
    scope: Option<RequestScope>,
}

impl Request {
    fn new(endpoint: Endpoint, segments: &[&str], about: String) -> Result<Self> {
        // The URL parser drops such segments silently, so the request would reach another endpoint.
        if let Some(id) = segments.iter().find(|id| !is_segment(id)) {
            return Err(Error::new(
                ErrorKind::Rejected,
                about,
                format!("`{}` can't be an id", shown(id)),
            ));
        }
        let segments = segments.iter().map(ToString::to_string).collect();
        Ok(Self {
            method: Method::GET,
            segments,
            query: Vec::new(),
            body: None,
            about,
            endpoint,
            scope: None,
        })
    }

    /// Sets the space, and the room if the request concerns only one.
    fn of(mut self, space: &SpaceId, room: Option<&RoomId>) -> Self {
        self.scope = Some(match room {
            Some(room) => RequestScope::Room(space.clone(), room.clone()),
            None => RequestScope::Space(space.clone()),
        });
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Sets the method and the JSON body.
    fn by(mut self, method: Method, body: Option<&Value>) -> Self {
        self.method = method;
        self.body = body.map(|body| body.to_string().into());
        self
    }

    /// The same request for the page at `offset`.
    pub(super) fn page(&self, offset: u64, limit: usize) -> Self {
        self.clone()
            .with("limit", limit.to_string())
            .with("offset", offset.to_string())
    }

    /// The HTTP method.
    pub(super) fn method(&self) -> Method {
        self.method.clone()
    }

    /// The JSON body, if the request has one.
    pub(super) fn body(&self) -> Option<Bytes> {
        self.body.clone()
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The space and room that the request concerns; `None` for requests of no space.
    pub(super) fn scope(&self) -> Option<&RequestScope> {
        self.scope.as_ref()
    }

    /// Method and object, such as `GET rooms of space s1`; errors begin with it.
    pub(super) fn about(&self) -> &str {
        &self.about
    }

    /// The URL below the API's base URL, which may or may not end with a slash.
    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&self.segments);
        }
        url.set_fragment(None);
        url.set_query(None);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

fn is_segment(id: &str) -> bool {
    !matches!(id, "" | "." | "..") && !id.contains(['\t', '\n', '\r'])
}

/// `GET /spaces`
pub(super) fn spaces() -> Result<Request> {
    Request::new(Endpoint::Spaces, &["spaces"], "GET spaces".into())
}

/// `GET /spaces/{s}/rooms`
pub(super) fn rooms(space: &SpaceId) -> Result<Request> {
    let about = format!("GET rooms of space {}", shown(space));
    Ok(Request::new(Endpoint::Rooms, &["spaces", space, "rooms"], about)?.of(space, None))
}

/// analyticsCalls. `date` is sent as noon UTC. That is an instant, as in the vendor's example, and it lies on the same
/// date in every time zone from −12 to +11.
pub(super) fn calls(space: &SpaceId, room: &RoomId, date: NaiveDate) -> Result<Request> {
    let about = format!("GET calls of {} on {date}", shown_room(space, room));
    let segments = ["spaces", space, "analytics", "calls"];
    Ok(Request::new(Endpoint::Calls, &segments, about)?
        .of(space, Some(room))
        .with("roomId", room.as_str())
        .with("date", format!("{date}T12:00:00.000Z")))
}

/// getRecords, between two instants.
pub(super) fn records(
    space: &SpaceId,
    room: &RoomId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Request> {
    let about = format!("GET records of {}", shown_room(space, room));
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let segments = ["spaces", space, "rooms", room, "records"];
    Ok(Request::new(Endpoint::Records, &segments, about)?
        .of(space, Some(room))
        .with("dateFrom", instant(from))
        .with("dateTo", instant(to)))
}

/// getRoomAnalyticsReport
pub(super) fn report(space: &SpaceId, room: &RoomId, call: &CallId, format: ReportFormat) -> Result<Request> {
    let about = format!(
        "GET {} report of call {} in {}",
        format.as_str(),
        shown(call),
        shown_room(space, room)
    );
    let endpoint = match format {
        ReportFormat::Json => Endpoint::JsonReport,
        ReportFormat::Xlsx => Endpoint::XlsxReport,
    };
    Ok(
        Request::new(endpoint, &["spaces", space, "analytics", "report"], about)?
            .of(space, Some(room))
            .with("roomId", room.as_str())
            .with("callId", call.as_str())
            .with("format", format.as_str()),
    )
}

/// RedirectToDownloadRoomRecord
pub(super) fn download_link(space: &SpaceId, room: &RoomId, record: &RecordId) -> Result<Request> {
    let about = format!(
        "GET download link of record {} in {}",
        shown(record),
        shown_room(space, room)
    );
    let segments = ["spaces", space, "rooms", room, "records", "download", record];
    Ok(Request::new(Endpoint::Link, &segments, about)?.of(space, Some(room)))
}

/// storeExternalUserMeta, at the path that the configuration names.
pub(super) fn store_meta(path: &str, payload: &Value) -> Result<Request> {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    Ok(Request::new(Endpoint::Meta, &segments, "POST external meta".into())?.by(Method::POST, Some(payload)))
}

/// createWebhook
pub(super) fn create_webhook(space: &SpaceId, url: &str) -> Result<Request> {
    webhook(Method::POST, space, Some(&json!({ "url": url })))
}

/// updateWebhook
pub(super) fn update_webhook(space: &SpaceId, url: &str, active: bool) -> Result<Request> {
    webhook(Method::PUT, space, Some(&json!({"url": url, "isActive": active})))
}

/// getWebhook
pub(super) fn get_webhook(space: &SpaceId) -> Result<Request> {
    webhook(Method::GET, space, None)
}

/// deleteWebhook
pub(super) fn delete_webhook(space: &SpaceId) -> Result<Request> {
    webhook(Method::DELETE, space, None)
}

/// refreshSecretWebhook
pub(super) fn refresh_webhook(space: &SpaceId) -> Result<Request> {
    let about = format!("PUT refresh-secret of the webhook of space {}", shown(space));
    let path = ["spaces", space, "webhook", "refresh-secret"];
    Ok(Request::new(Endpoint::Webhook, &path, about)?
        .of(space, None)
        .by(Method::PUT, None))
}

fn webhook(method: Method, space: &SpaceId, body: Option<&Value>) -> Result<Request> {
    let about = format!("{method} webhook of space {}", shown(space));
    Ok(
        Request::new(Endpoint::Webhook, &["spaces", space, "webhook"], about)?
            .of(space, None)
            .by(method, body),
    )
}

fn shown_room(space: &SpaceId, room: &RoomId) -> String {
    format!("room {} of space {}", shown(room), shown(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(request: Result<Request>) -> String {
        let base = Url::parse("https://api.example/v1").unwrap();
        request.unwrap().url(&base).to_string()
    }

    #[test]
    fn every_request_has_the_url_of_the_guide() {
        let date = NaiveDate::from_ymd_opt(2023, 8, 1).unwrap();
        let at = DateTime::from_timestamp_millis(1_690_892_740_253).unwrap();
        let all = [
            url(spaces()),
            url(rooms(&"s1".into())),
            url(calls(&"s1".into(), &"r1".into(), date)),
            url(records(
                &"s1".into(),
                &"r1".into(),
                at,
                at + chrono::TimeDelta::days(1),
            )),
            url(report(
                &"s1".into(),
                &"r1".into(),
                &"c1".into(),
                ReportFormat::Xlsx,
            )),
            url(download_link(&"s1".into(), &"r1".into(), &"x1".into())),
            url(store_meta("/users/external-meta", &Value::Null)),
            url(get_webhook(&"s1".into())),
            url(refresh_webhook(&"s1".into())),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        https://api.example/v1/spaces
        https://api.example/v1/spaces/s1/rooms
        https://api.example/v1/spaces/s1/analytics/calls?roomId=r1&date=2023-08-01T12%3A00%3A00.000Z
        https://api.example/v1/spaces/s1/rooms/r1/records?dateFrom=2023-08-01T12%3A25%3A40.253Z&dateTo=2023-08-02T12%3A25%3A40.253Z
        https://api.example/v1/spaces/s1/analytics/report?roomId=r1&callId=c1&format=xlsx
        https://api.example/v1/spaces/s1/rooms/r1/records/download/x1
        https://api.example/v1/users/external-meta
        https://api.example/v1/spaces/s1/webhook
        https://api.example/v1/spaces/s1/webhook/refresh-secret
        ");
    }

    #[test]
    fn webhook_requests_have_the_method_and_body_of_the_guide() {
        let shown_request = |request: Result<Request>| {
            let request = request.unwrap();
            let body = request.body().unwrap_or_default();
            format!("{} {}", request.method(), String::from_utf8_lossy(&body))
        };
        insta::assert_snapshot!(
            [
                shown_request(create_webhook(&"s1".into(), "https://lake.example/hook")),
                shown_request(update_webhook(&"s1".into(), "https://lake.example/hook", true)),
                shown_request(get_webhook(&"s1".into())),
                shown_request(refresh_webhook(&"s1".into())),
                shown_request(delete_webhook(&"s1".into())),
            ]
            .join("\n"),
            @r#"
        POST {"url":"https://lake.example/hook"}
        PUT {"isActive":true,"url":"https://lake.example/hook"}
        GET 
        PUT 
        DELETE 
        "#
        );
    }

    #[test]
    fn the_base_url_may_end_with_a_slash_and_pages_add_limit_and_offset() {
        let request = rooms(&"s1".into()).unwrap().page(200, 100);
        for base in ["http://h/v1", "http://h/v1/", "http://h/v1/?x=1#y"] {
            let url = request.url(&Url::parse(base).unwrap());
            assert_eq!(url.as_str(), "http://h/v1/spaces/s1/rooms?limit=100&offset=200");
        }
        let rootless = request.url(&Url::parse("http://h").unwrap());
        assert_eq!(rootless.path(), "/spaces/s1/rooms");
    }

    #[test]
    fn an_id_never_changes_the_path_of_a_request() {
        assert_eq!(
            url(rooms(&"a/b?c#d %2e".into())),
            "https://api.example/v1/spaces/a%2Fb%3Fc%23d%20%252e/rooms"
        );
        assert_eq!(
            url(rooms(&"a\0\u{1b}\u{202e}\\..".into())),
            "https://api.example/v1/spaces/a%00%1B%E2%80%AE%5C../rooms"
        );
        for id in ["", ".", "..", ".\t.", "a\nb"] {
            let error = rooms(&id.into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected, "{id:?}");
            assert!(!error.to_string().contains(char::is_control));
        }
    }
}
