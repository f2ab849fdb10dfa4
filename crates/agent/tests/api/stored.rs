//! Clusters that have Calico's resources where Calico stores them, and no `projectcalico.org/v3`.

use serde_json::{Value, json};
use tortie_client::server::followed;

use crate::agent::Agent;
use crate::way::{Mood, Way};
use crate::world::{Api, Client, Document, FIRST, SECOND, allow, soon};

const INTERNAL: &str = "crd.projectcalico.org";

/// The definition of a kind that is kept as it comes.
fn definition(plural: &str, kind: &str, namespaced: bool) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{INTERNAL}")},
        "spec": {
            "group": INTERNAL, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": anything},
            }],
        },
    })
}

/// As Calico's own client writes it.
fn stored(mut document: Value) -> Value {
    if document["apiVersion"] == "projectcalico.org/v3" {
        document["apiVersion"] = format!("{INTERNAL}/v1").into();
        let v3 = json!({"uid": "4dd82395-8bbb-4689-b440-d20bdcdca127", "creationTimestamp": null});
        document["metadata"]["annotations"]["projectcalico.org/metadata"] = v3.to_string().into();
    }
    document
}

/// An API server with documents, those of Calico where Calico stores them.
async fn cluster(documents: &[Document]) -> (Api, Client) {
    let api = Api::new(&[]).await;
    for place in followed().iter().filter_map(|followed| followed.wanted().instead) {
        api.apply(&definition(&place.plural, &place.kind, place.namespaced)).await;
    }
    let client = soon("it has the kinds", async || {
        let client = Client::connect(&api.url()).await?;
        client.find(&format!("tiers.{INTERNAL}")).then_some(client)
    })
    .await;
    for document in documents {
        client.apply(&stored(api.whole(document))).await;
    }
    (api, client)
}

#[tokio::test]
async fn they_are_followed_there() {
    let (api, client) = cluster(FIRST).await;
    let way = Way::to(api.address).await;
    way.is(Mood::Refuses(api.address, "/apis/projectcalico.org/", 404));
    let agent = Agent::impatient(&way.url);
    agent.ready().await;

    // The same contents in the other group.
    let v3 = Api::new(FIRST).await;
    agent.converges(&v3.url()).await;
    // Profiles are not stored.
    assert_eq!(agent.metric("tortie_source_missing_kinds"), 1.0);

    // What is written later, too.
    let late = v3.whole(&("globalnetworkpolicy", "", "default.late", || {
        allow("all()", "app == 'client'", 7)
    }));
    v3.apply(&late).await;
    client.apply(&stored(late)).await;
    let both = agent.converges(&v3.url()).await;
    assert!(both.contains("default.late"), "{both}");
}

#[tokio::test]
async fn both_groups_are_there() {
    let (api, _) = cluster(FIRST).await;
    let way = Way::to(api.address).await;
    way.is(Mood::Refuses(api.address, "/apis/projectcalico.org/", 404));
    let agent = Agent::impatient(&way.url);
    agent.ready().await;
    let internal = agent.converges(&way.url).await;

    // Calico's API server is installed: here, with other contents, so that there is a difference.
    let policies: Vec<Document> = SECOND.iter().copied().filter(|d| d.0 != "pod").collect();
    api.replace(&[], &policies).await;
    way.open(api.address);
    let v3 = agent.converges(&api.url()).await;
    assert!(v3.contains("inside") && !v3.contains("outside"), "{v3}");
    api.replace(&policies, &[]).await;
    agent.converges(&api.url()).await;

    // And removed again.
    way.is(Mood::Refuses(api.address, "/apis/projectcalico.org/", 404));
    soon("what is stored", async || (agent.now() == internal).then_some(())).await;
}

/// What questions about the live state are answered from is what agents follow.
#[tokio::test]
async fn they_are_listed_there() {
    let (api, _) = cluster(FIRST).await;
    let way = Way::to(api.address).await;
    way.is(Mood::Refuses(api.address, "/apis/projectcalico.org/", 404));
    let server = Client::connect(&way.url).await.unwrap().server;
    let kinds = followed();
    let of = |plural| kinds.iter().find(|followed| followed.api.plural == plural).unwrap().wanted();
    let policies = server.list_wanted(&of("networkpolicies")).await.unwrap().unwrap();
    assert_eq!(policies.items.len(), 1);
    assert_eq!(policies.items[0]["apiVersion"], format!("{INTERNAL}/v1"));
    assert_eq!(server.list_wanted(&of("profiles")).await.unwrap(), None);
    way.open(api.address);
    let policies = server.list_wanted(&of("networkpolicies")).await.unwrap().unwrap();
    assert_eq!(policies.items.len(), 0, "where both are, the other one does not count");
}
