//! What only a pod's node can answer: logs, and commands within containers. Requests go on to the
//! kubelet whose Unix socket the Node names, and its answers come back as they are.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyDataStream, BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;

use crate::api::{Api, key};
use crate::object::{self, text};
use crate::path::Target;
use crate::query::decoded;
use crate::status::Status;

/// The annotation of a Node that says where its kubelet listens: an absolute path.
const KUBELET: &str = "tortie.dev/kubelet";

/// The annotation of a Pod that says whose logs are meant if nobody says so.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// How long a kubelet may take to answer a request; what it then sends may take as long as it likes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most of a kubelet's complaint that is handed on, in bytes.
const LARGEST_COMPLAINT: usize = 4096;

/// What may be said of logs.
const LOG: [&str; 7] =
    ["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "tailLines", "timestamps"];

/// What of a command's ends is wanted: as API servers call it, and as kubelets do.
const ENDS: [(&str, &str); 4] =
    [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

/// What is escaped in words of paths and queries.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Headers of an upgrade that both sides must see.
fn is_of_upgrade(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::UPGRADE
        || name.as_str().starts_with("sec-websocket-")
}

/// The parameters of a request, in their order.
fn parameters(head: &Parts) -> Result<Vec<(String, String)>, Status> {
    let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(&value.replace('+', " "))?))
    };
    pairs.map(pair).collect()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = parameters.iter().find(|(one, value)| one == name && !value.is_empty());
    found.map(|(_, value)| value.as_str())
}

/// A path with its query, of words that may be anything.
fn uri(verb: &str, words: &[&str], parameters: &[(&str, &str)]) -> String {
    let escaped = |word: &str| utf8_percent_encode(word, ESCAPED).to_string();
    let mut uri = format!("/{verb}");
    words.iter().for_each(|word| {
        uri.push('/');
        uri.push_str(&escaped(word));
    });
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if !pairs.is_empty() {
        uri.push('?');
        uri.push_str(&pairs.join("&"));
    }
    uri
}

/// A pod and the kubelet that has it.
struct Place {
    pod: Value,
    node: String,
    socket: String,
}

impl Place {
    /// A container of the pod: the one that is named, or the one that is meant.
    fn container(&self, named: Option<&str>) -> Result<String, Status> {
        let names = |list: &str| -> Vec<String> {
            let list = self.pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
            list.map(|one| text(one, "/name").to_owned()).collect()
        };
        let containers = names("/spec/containers");
        let others = [names("/spec/initContainers"), names("/spec/ephemeralContainers")].concat();
        let mut all = containers.iter().chain(&others);
        let pod = object::name(&self.pod);
        let annotations = self.pod.pointer("/metadata/annotations");
        let meant = annotations.and_then(|all| all.get(DEFAULT_CONTAINER)).and_then(Value::as_str);
        match (named.or(meant), containers.as_slice()) {
            (Some(name), _) if all.any(|one| one == name) => Ok(name.to_owned()),
            (Some(name), _) => {
                let message = format!("container {name} is not valid for pod {pod}");
                Err(Status::bad_request(message))
            }
            (None, [one]) => Ok(one.clone()),
            (None, many) => Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod}, choose one of: [{}]",
                many.join(" ")
            ))),
        }
    }

    fn path<'a>(&'a self, container: &'a str) -> [&'a str; 3] {
        [text(&self.pod, "/metadata/namespace"), object::name(&self.pod), container]
    }

    fn unreachable(&self, why: &str) -> Status {
        Status::unavailable(format!("the kubelet of node `{}` cannot be reached: {why}", self.node))
    }

    /// Sends a request to the kubelet.
    async fn ask(&self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        answer.unwrap_or_else(|_| Err(self.unreachable("it does not answer")))
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Status> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| self.unreachable(&error.to_string()))?;
        // Whoever may write Nodes must not reach anybody's sockets by it.
        let peer = stream.peer_cred().map_err(|error| self.unreachable(&error.to_string()))?.uid();
        if peer != 0 && peer != rustix::process::geteuid().as_raw() {
            return Err(self.unreachable("its socket is somebody else's"));
        }
        let failed = |error: hyper::Error| self.unreachable(&error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the answer, or with the upgraded stream.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(failed)
    }
}

impl Api {
    /// Answers `log` and `exec` of a pod. `permit` is held until the answer ends.
    pub(crate) async fn kubelet(
        &self,
        target: &Target,
        head: &Parts,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status> {
        let parameters = parameters(head)?;
        match (target.subresource.as_deref(), &head.method) {
            (Some("log"), &Method::GET) => {
                let place = self.place(target).await?;
                log(&place, &parameters, permit).await
            }
            (Some("exec"), &Method::GET | &Method::POST) => {
                let place = self.place(target).await?;
                exec(&place, &parameters, head, permit).await
            }
            (Some("log" | "exec"), _) => Err(Status::method_not_allowed()),
            (other, _) => {
                let other = other.unwrap_or_default();
                let message = format!("`{other}` is not served: of pods only `log` and `exec` are");
                Err(Status::not_implemented(message))
            }
        }
    }

    async fn place(&self, target: &Target) -> Result<Place, Status> {
        let pod = self.get(target).await?;
        let node = text(&pod, "/spec/nodeName").to_owned();
        if node.is_empty() {
            let message = format!("pod {} does not have a host assigned", object::name(&pod));
            return Err(Status::bad_request(message));
        }
        let nodes = self.kind("", "v1", "nodes")?;
        let no_kubelet =
            |why: &str| Status::unavailable(format!("node `{node}` has no kubelet to ask: {why}"));
        let found = match self.find(&nodes, &key(&nodes, None, &node)?).await {
            Err(status) if status.code() == 404 => return Err(no_kubelet("it is not there")),
            found => object::decode(&nodes, &*found?),
        };
        let annotations = found.pointer("/metadata/annotations");
        let socket = annotations.and_then(|all| all.get(KUBELET)).and_then(Value::as_str);
        match socket {
            Some(socket) if socket.starts_with('/') => {
                Ok(Place { socket: socket.to_owned(), node, pod })
            }
            Some(_) => Err(no_kubelet(&format!("its annotation `{KUBELET}` is no absolute path"))),
            None => Err(no_kubelet(&format!("it has no annotation `{KUBELET}`"))),
        }
    }
}

/// The request's connection, once the client speaks WebSocket on it; none if it asks for something
/// else.
fn upgrade(head: &Parts) -> Option<OnUpgrade> {
    let asked = head.headers.get(header::UPGRADE)?.to_str().ok()?;
    let upgrade = head.extensions.get::<OnUpgrade>()?.clone();
    asked.eq_ignore_ascii_case("websocket").then_some(upgrade)
}

async fn log(
    place: &Place,
    parameters: &[(String, String)],
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, Status> {
    let container = place.container(parameter(parameters, "container"))?;
    let passed: Vec<(&str, &str)> =
        LOG.iter().filter_map(|name| Some((*name, parameter(parameters, name)?))).collect();
    let uri = uri("containerLogs", &place.path(&container), &passed);
    let answer = place.ask(request(Method::GET, uri)?).await?;
    if answer.status() != StatusCode::OK {
        return Err(complaint(answer).await);
    }
    let held = move |chunk| {
        let _ = &permit;
        chunk
    };
    let body = Body::from_stream(BodyDataStream::new(answer.into_body()).map(held));
    Ok(crate::view::with_type(StatusCode::OK, "text/plain", body))
}

async fn exec(
    place: &Place,
    parameters: &[(String, String)],
    head: &Parts,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, Status> {
    let container = place.container(parameter(parameters, "container"))?;
    let yes = |name| parameter(parameters, name).is_some_and(crate::query::yes);
    let ends = ENDS.iter().filter(|(name, _)| yes(name)).map(|(_, name)| (*name, "1"));
    let commands = parameters.iter().filter(|(name, _)| name == "command");
    let commands: Vec<(&str, &str)> =
        commands.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if commands.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    let passed: Vec<(&str, &str)> = ends.chain(commands).collect();
    let mut request = request(Method::GET, uri("exec", &place.path(&container), &passed))?;
    let of_upgrade = |headers: &HeaderMap| -> HeaderMap {
        let kept = headers.iter().filter(|(name, _)| is_of_upgrade(name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let client = upgrade(head);
    if client.is_some() {
        request.headers_mut().extend(of_upgrade(&head.headers));
    }
    let mut answer = place.ask(request).await?;
    // Without a WebSocket the kubelet refuses, and says why it would have refused with one.
    let Some(client) = client.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) else {
        return Err(complaint(answer).await);
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(of_upgrade(answer.headers()));
    let kubelet = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let _permit = permit;
        if let (Ok(client), Ok(kubelet)) = tokio::join!(client, kubelet) {
            let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
            // Whichever side ends it, the other one hears of it.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await;
        }
    });
    Ok(response)
}

fn request(method: Method, uri: String) -> Result<Request<Empty<Bytes>>, Status> {
    let request = Request::builder().method(method).uri(uri).header(header::HOST, "kubelet");
    request.body(Empty::new()).map_err(|error| Status::bad_request(error.to_string()))
}

/// What a kubelet says in place of an answer.
async fn complaint(answer: Response<Incoming>) -> Status {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST_COMPLAINT).collect();
    let body = tokio::time::timeout(PATIENCE, body).await.ok().and_then(Result::ok);
    let said = body.map(|body| body.to_bytes()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let message = format!("the kubelet says: {}", said.trim());
    match code {
        StatusCode::NOT_FOUND => Status::missing(message),
        code if code.is_client_error() => Status::bad_request(message),
        _ => Status::unavailable(format!("{message} ({})", code.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_the_one_that_is_meant() {
        let place = |pod: Value| Place { pod, node: String::new(), socket: String::new() };
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(place(one.clone()).container(None).unwrap(), "a");
        assert!(place(one).container(Some("b")).is_err());
        let two = json!({
            "metadata": {"name": "p", "annotations": {DEFAULT_CONTAINER: "b"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
        });
        let two = place(two);
        assert_eq!(two.container(None).unwrap(), "b");
        assert_eq!(two.container(Some("i")).unwrap(), "i");
        let mut unsaid = two.pod;
        object::fields(&mut unsaid, "metadata").remove("annotations");
        let refused = place(unsaid).container(None).unwrap_err().document();
        assert!(text(&refused, "/message").ends_with("choose one of: [a b]"), "{refused}");
    }

    #[test]
    fn words_do_not_leave_their_place() {
        let made = uri("exec", &["a", "b/../c", "d"], &[("command", "x&y=z"), ("tty", "1")]);
        assert_eq!(made, "/exec/a/b%2F..%2Fc/d?command=x%26y%3Dz&tty=1");
    }
}
