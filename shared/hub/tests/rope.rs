//! Frequencies against transformers' own functions, through its own configuration
//! (`make_rope_tables.py` writes the table).

use std::path::Path;

use hub::ModelConfig;
use serde_json::{Value, json};

/// The table's cases.
fn tables() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("rope_tables.json")).unwrap();
    let tables = file["tables"].as_array().unwrap().clone();
    assert!(tables.len() >= 18, "{} tables", tables.len());
    tables
}

/// Fields the generator left to the defaults, filled in so that the sizes fit.
fn config(table: &Value) -> ModelConfig {
    ModelConfig::from_json(&table["config"].to_string(), Path::new("table")).unwrap()
}

#[track_caller]
fn assert_frequencies(config: &ModelConfig, table: &Value) {
    let name = &table["name"];
    assert_eq!(config.head_dim as u64, table["head_dim"].as_u64().unwrap(), "{name}");
    let (found, factor) =
        config.rope.frequencies(config.head_dim, config.max_position_embeddings);
    let expected = table["inverse_frequencies"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = expected.as_f64().unwrap();
        let error = (found / expected - 1.0).abs();
        assert!(error < 1e-13, "{name}, pair {i}: {found} for {expected}");
    }
    let expected = table["attention_factor"].as_f64().unwrap();
    assert!((factor / expected - 1.0).abs() < 1e-15, "{name}: {factor} for {expected}");
}

#[test]
fn as_transformers_computes_them() {
    for table in tables() {
        assert_frequencies(&config(&table), &table);
    }
}

/// The same through the version-4 form, with the type under its newer or its older key.
#[test]
fn version_4_form() {
    for table in tables() {
        let mut old = table["config"].clone();
        let fields = old.as_object_mut().unwrap();
        let mut rope = fields.remove("rope_parameters").unwrap();
        let rope_fields = rope.as_object_mut().unwrap();
        fields.insert("rope_theta".into(), rope_fields.remove("rope_theta").unwrap());
        if rope_fields.is_empty() {
            rope = Value::Null;
        }
        fields.insert("rope_scaling".into(), rope.clone());
        let table = json!({ "name": format!("{} (version 4)", table["name"]),
            "config": old, "head_dim": table["head_dim"],
            "inverse_frequencies": table["inverse_frequencies"],
            "attention_factor": table["attention_factor"] });
        assert_frequencies(&config(&table), &table);

        let mut older = table.clone();
        if let Some(rope) = older["config"]["rope_scaling"].as_object_mut()
            && let Some(kind) = rope.remove("rope_type")
        {
            rope.insert("type".into(), kind);
        }
        assert_frequencies(&config(&older), &older);
    }
}

/// Written in both forms and read back.
#[test]
fn written_and_read_back() {
    for table in tables() {
        let config = config(&table);
        let text = config.to_json();
        let again = ModelConfig::from_json(&text, Path::new("again")).unwrap();
        assert_eq!(again, config, "{}", table["name"]);
        assert_frequencies(&again, &table);
        // Either form alone says the same.
        for form in [&["rope_parameters"][..], &["rope_theta", "rope_scaling"]] {
            let mut half: Value = serde_json::from_str(&text).unwrap();
            for field in form {
                half.as_object_mut().unwrap().remove(*field).unwrap();
            }
            let half = ModelConfig::from_json(&half.to_string(), Path::new("half"));
            assert_eq!(half.unwrap(), config, "{} without {form:?}", table["name"]);
        }
    }
}
