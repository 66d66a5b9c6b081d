//! The configurations of integrations in the description of the API: a schema for each kind, made of its fields.

use serde_json::Value;
use tributary_control::kinds::{self, Field, Shape};
use utoipa::openapi::{
    Components, Object, ObjectBuilder, OpenApi, Ref, RefOr, Schema,
    schema::{ArrayBuilder, Discriminator, OneOfBuilder, Type},
};

/// The name of the schema that is any of the kinds'.
const ANY: &str = "Integration";
const TYPE: &str = "integration_type";
const PRODUCTS: &str = "In an organization: the ids or slugs of the products where it executes.";

/// Adds the schemas to a description.
pub(crate) fn describe(api: &mut OpenApi) {
    let schemas = &mut api.components.get_or_insert_with(Components::new).schemas;
    let mut any = OneOfBuilder::new();
    let mut mapping = Vec::new();
    for kind in kinds::known_names() {
        let (name, at) = (schema_name(kind), Ref::from_schema_name(schema_name(kind)));
        mapping.push((kind, at.ref_location.clone()));
        any = any.item(at);
        schemas.insert(name, Schema::from(configuration(kind)).into());
    }
    let any = any.discriminator(Some(Discriminator::with_mapping(TYPE, mapping)));
    let any = any.description(Some(
        "The configuration of an integration. Keys that are not known are kept and given back.",
    ));
    schemas.insert(ANY.to_owned(), Schema::from(any.build()).into());
}

/// The schema of a body that is a configuration.
pub(crate) fn any() -> RefOr<Schema> {
    Ref::from_schema_name(ANY).into()
}

fn schema_name(kind: &str) -> String {
    format!("{kind}{ANY}")
}

fn configuration(kind: &str) -> Object {
    let mut schema = ObjectBuilder::new();
    for field in kinds::common_fields().iter().chain(kinds::own_fields(kind)) {
        if field.required {
            schema = schema.required(field.name);
        }
        schema = match field.name {
            TYPE => schema.property(TYPE, type_of(kind, field)),
            _ => schema.property(field.name, property(field)),
        };
    }
    if kind != kinds::DEFAULT {
        schema = schema.required(TYPE);
    }
    let entry =
        OneOfBuilder::new().item(Object::with_type(Type::Integer)).item(Object::with_type(Type::String));
    let products = ArrayBuilder::new().items(entry);
    let products = products.description(Some(PRODUCTS));
    schema = schema.property("product_ids", products);
    schema.build()
}

fn type_of(kind: &str, field: &Field) -> Schema {
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind]));
    schema.description(Some(field.help)).build().into()
}

fn property(field: &Field) -> Schema {
    let help = match field.sensitive {
        true => format!(
            "{} It comes back as [[SENSITIVE]], which keeps the stored value when it is sent.",
            field.help
        ),
        false => field.help.to_owned(),
    };
    let default = field.default.and_then(|json| serde_json::from_str::<Value>(json).ok());
    let typed = |shape| ObjectBuilder::new().schema_type(shape);
    match field.shape {
        Shape::Text => typed(Type::String).description(Some(help)).default(default).build().into(),
        Shape::Flag => typed(Type::Boolean).description(Some(help)).default(default).build().into(),
        Shape::Object => typed(Type::Object).description(Some(help)).default(default).build().into(),
        Shape::ObjectOrText => {
            let either = OneOfBuilder::new();
            let either = either.item(typed(Type::Object).build()).item(typed(Type::String).build());
            either.description(Some(help)).build().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_says_what_is_required_and_hidden() {
        let described: Value = serde_json::from_str(&crate::openapi::json()).unwrap();
        let schemas = &described["components"]["schemas"];
        for kind in kinds::known_names() {
            let schema = &schemas[schema_name(kind)];
            assert_eq!(schema["properties"][TYPE]["enum"], serde_json::json!([kind]));
            for field in kinds::common_fields().iter().chain(kinds::own_fields(kind)) {
                let property = &schema["properties"][field.name];
                let help = property["description"].as_str().unwrap();
                assert!(help.starts_with(field.help), "{kind}: {}", field.name);
                assert_eq!(help.contains("[[SENSITIVE]]"), field.sensitive, "{kind}: {}", field.name);
                let required = schema["required"].as_array().unwrap();
                assert_eq!(
                    required.contains(&field.name.into()),
                    field.required || (field.name == TYPE && kind != kinds::DEFAULT)
                );
            }
            let at = format!("#/components/schemas/{}", schema_name(kind));
            assert_eq!(schemas[ANY]["discriminator"]["mapping"][kind], at.as_str());
        }
        let body = &described["paths"]["/v1/orgs/{org}/integrations"]["post"]["requestBody"];
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], format!("#/components/schemas/{ANY}").as_str());
    }
}
