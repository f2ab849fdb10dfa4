//! Gateways and VirtualServices as they are written, as far as they are understood.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewaySpec {
    #[serde(default)]
    pub(super) selector: BTreeMap<String, String>,
    pub(super) servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Server {
    pub(super) port: ServerPort,
    pub(super) hosts: Vec<String>,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServerPort {
    pub(super) number: u16,
    pub(super) protocol: String,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VirtualServiceSpec {
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) gateways: Vec<String>,
    #[serde(default)]
    pub(super) http: Vec<HttpRoute>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpRoute {
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(default, rename = "match")]
    pub(super) matches: Vec<HttpMatch>,
    pub(super) route: Vec<RouteTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpMatch {
    #[serde(rename = "name")]
    _name: Option<String>,
    pub(super) uri: Option<Uri>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Uri {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteTarget {
    pub(super) destination: RouteDestination,
    #[serde(rename = "weight")]
    _weight: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteDestination {
    pub(super) host: String,
    pub(super) port: Option<DestinationPort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DestinationPort {
    pub(super) number: u16,
}
