//! `NamespaceService`.

use engine_proto::v1;

use crate::cases::{Case, TOO_LONG, long, refused, seconds};
use crate::world::World;

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    let client = world.namespaces();
    let create = |change: fn(&mut v1::CreateNamespaceRequest)| {
        let mut request = v1::CreateNamespaceRequest { namespace: "new".into(), ..Default::default() };
        change(&mut request);
        request
    };
    let int = i32::from(v1::SearchAttributeType::Int);
    fn attributes(count: usize) -> std::collections::BTreeMap<String, i32> {
        (0..count).map(|number| (format!("Number{number}"), v1::SearchAttributeType::Int.into())).collect()
    }
    refused!(cases, client, "NamespaceService.CreateNamespace", create_namespace, [
        create(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        create(|it| it.namespace = long()) => InvalidArgument, format!("namespace: {TOO_LONG}");
        create(|it| it.namespace = "shop".into()) => AlreadyExists, "namespace \"shop\" already exists";
        create(|it| it.description = long()) => InvalidArgument, format!("description: {TOO_LONG}");
        create(|it| it.owner = long()) => InvalidArgument, format!("owner: {TOO_LONG}");
        create(|it| it.retention = Some(v1::Retention { default: seconds(1), ..Default::default() })) => InvalidArgument, "retention.default: ";
        create(|it| it.retention = Some(v1::Retention { failed: seconds(-1), ..Default::default() })) => InvalidArgument, "retention.failed: ";
        create(|it| it.search_attributes = [("1st".to_owned(), 4)].into()) => InvalidArgument, "search_attributes: \"1st\" is no name";
        create(|it| it.search_attributes = [("Status".to_owned(), 4)].into()) => InvalidArgument, "search_attributes: Status is a column";
        create(|it| it.search_attributes = [("Total".to_owned(), 0)].into()) => InvalidArgument, "search_attributes";
        create(|it| it.search_attributes = [("total".to_owned(), 4), ("Total".to_owned(), 4)].into()) => InvalidArgument, "search_attributes: ";
        create(|it| it.search_attributes = attributes(101)) => InvalidArgument, "search_attributes: ";
    ]);
    let update = |change: fn(&mut v1::UpdateNamespaceRequest)| {
        let mut request = v1::UpdateNamespaceRequest { namespace: "default".into(), ..Default::default() };
        change(&mut request);
        request
    };
    let retyped = v1::UpdateNamespaceRequest {
        namespace: "default".into(),
        add_search_attributes: [("Region".to_owned(), int)].into(),
        ..Default::default()
    };
    refused!(cases, client, "NamespaceService.UpdateNamespace", update_namespace, [
        update(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        update(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        update(|it| it.description = Some(long())) => InvalidArgument, format!("description: {TOO_LONG}");
        update(|it| it.owner = Some(long())) => InvalidArgument, format!("owner: {TOO_LONG}");
        update(|it| it.retention = Some(v1::Retention { terminated: seconds(59), ..Default::default() })) => InvalidArgument, "retention.terminated: ";
        update(|it| it.add_search_attributes = [("order".to_owned(), 4)].into()) => InvalidArgument, "add_search_attributes: order is a word of the filter language";
        retyped => InvalidArgument, "add_search_attributes: ";
        update(|it| it.add_search_attributes = attributes(100)) => InvalidArgument, "add_search_attributes: ";
        update(|it| it.remove_search_attributes = vec!["Colour".into()]) => InvalidArgument, "remove_search_attributes[0]: \"Colour\" is not registered";
    ]);
    let describe = |namespace: &str| v1::DescribeNamespaceRequest { namespace: namespace.into() };
    refused!(cases, client, "NamespaceService.DescribeNamespace", describe_namespace, [
        describe("") => InvalidArgument, "namespace: must not be empty";
        describe(&long()) => InvalidArgument, format!("namespace: {TOO_LONG}");
        describe("nowhere") => NotFound, "namespace \"nowhere\" not found";
    ]);
    let delete =
        |namespace: &str| v1::DeleteNamespaceRequest { namespace: namespace.into(), terminate_open_runs: true };
    refused!(cases, client, "NamespaceService.DeleteNamespace", delete_namespace, [
        delete("") => InvalidArgument, "namespace: must not be empty";
        delete("nowhere") => NotFound, "namespace \"nowhere\" not found";
        delete("default") => InvalidArgument, "namespace: ";
    ]);
    cases
}
