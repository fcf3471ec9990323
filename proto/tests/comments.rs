//! The .proto files are documentation: each thing that they declare says what it means.

use prost::Message as _;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

// Field numbers of descriptor.proto, which make up the paths of source locations.
const FILE_MESSAGES: i32 = 4;
const FILE_ENUMS: i32 = 5;
const FILE_SERVICES: i32 = 6;
const MESSAGE_FIELDS: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUMS: i32 = 4;
const MESSAGE_ONEOFS: i32 = 8;
const ENUM_VALUES: i32 = 2;
const SERVICE_METHODS: i32 = 2;

/// Every declaration of a file: its path in the descriptor and its name.
fn declarations(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut found = Vec::new();
    for (index, message) in (0..).zip(&file.message_type) {
        collect_message(message, vec![FILE_MESSAGES, index], String::new(), &mut found);
    }
    for (index, list) in (0..).zip(&file.enum_type) {
        collect_enum(list, vec![FILE_ENUMS, index], String::new(), &mut found);
    }
    for (index, service) in (0..).zip(&file.service) {
        found.push((vec![FILE_SERVICES, index], service.name().to_owned()));
        for (method_index, method) in (0..).zip(&service.method) {
            let path = vec![FILE_SERVICES, index, SERVICE_METHODS, method_index];
            found.push((path, format!("{}.{}", service.name(), method.name())));
        }
    }
    found
}

fn collect_message(message: &DescriptorProto, path: Vec<i32>, outer: String, found: &mut Vec<(Vec<i32>, String)>) {
    // A map field's entry type is written by the compiler.
    if message.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    let name = format!("{outer}{}", message.name());
    let below = |kind: i32, index: i32| [path.as_slice(), &[kind, index]].concat();
    for (index, field) in (0..).zip(&message.field) {
        found.push((below(MESSAGE_FIELDS, index), format!("{name}.{}", field.name())));
    }
    for (index, oneof) in (0..).zip(&message.oneof_decl) {
        // The compiler makes a oneof of each `optional` field, named with an underscore.
        if !oneof.name().starts_with('_') {
            found.push((below(MESSAGE_ONEOFS, index), format!("{name}.{}", oneof.name())));
        }
    }
    for (index, nested) in (0..).zip(&message.nested_type) {
        collect_message(nested, below(MESSAGE_NESTED, index), format!("{name}."), found);
    }
    for (index, list) in (0..).zip(&message.enum_type) {
        collect_enum(list, below(MESSAGE_ENUMS, index), format!("{name}."), found);
    }
    found.push((path, name));
}

fn collect_enum(list: &EnumDescriptorProto, path: Vec<i32>, outer: String, found: &mut Vec<(Vec<i32>, String)>) {
    let name = format!("{outer}{}", list.name());
    for (index, value) in (0..).zip(&list.value) {
        found.push(([path.as_slice(), &[ENUM_VALUES, index]].concat(), format!("{name}.{}", value.name())));
    }
    found.push((path, name));
}

#[test]
fn everything_declared_in_engine_v1_has_a_comment() {
    let files = FileDescriptorSet::decode(engine_proto::DESCRIPTORS).unwrap().file;
    let mut checked = 0;
    let mut bare = Vec::new();
    for file in files.iter().filter(|file| file.package() == "engine.v1") {
        let locations: &[Location] = &file.source_code_info.as_ref().expect("compiled with source info").location;
        for (path, name) in declarations(file) {
            checked += 1;
            let location = locations.iter().find(|location| location.path == path);
            if location.is_none_or(|location| location.leading_comments().trim().is_empty()) {
                bare.push(format!("{}: {name}", file.name()));
            }
        }
    }
    assert!(checked > 300, "only {checked} declarations were found: the descriptors are incomplete");
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}
