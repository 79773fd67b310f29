//! Vectors through both SDKs: as numbers, as base64, and of tokens.

use serde_json::{Value, json};
use tests::fleet::{Fleet, MODEL, Plan};

use crate::{Local, Sdk, answers::tiny, with};

#[tokio::test(flavor = "multi_thread")]
async fn texts_become_vectors_however_they_are_asked_for() {
    let fleet = Fleet::start(Plan { engine: tiny(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    let mut both = Vec::new();
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let mut ask = async |more: Value| {
            let params = with(json!({"model": MODEL}), more);
            sdk.call(json!({"do": "embedding", "params": params})).await
        };
        // The packages ask for base64 unless they are told otherwise; it holds the same numbers.
        let texts = json!({"input": ["a cat", "a dog", "a cat"]});
        let packed = ask(texts.clone()).await;
        let plain = ask(with(texts, json!({"encoding_format": "float"}))).await;
        assert_eq!((&packed["order"], &packed["model"]), (&json!([0, 1, 2]), &json!(MODEL)));
        assert_eq!(packed["usage"], plain["usage"]);
        assert_eq!(packed["usage"][0], packed["usage"][1]);
        let [first, second, third] = vectors(&packed).try_into().unwrap();
        assert_eq!(vectors(&plain), [first.clone(), second.clone(), third.clone()]);
        assert_eq!(first, third);
        assert_ne!(first, second);
        let length = first.iter().map(|number| number * number).sum::<f64>();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        assert_eq!(vectors(&ask(json!({"input": "a cat"})).await), std::slice::from_ref(&first));
        let tokens = ask(json!({"input": [[5, 6, 7], [8]]})).await;
        assert_eq!((vectors(&tokens).len(), &tokens["usage"][0]), (2, &json!(4)));
        for (more, field) in [
            (json!({"input": "a", "dimensions": 8}), "dimensions"),
            (json!({"input": ["a", ""]}), "input"),
            (json!({"input": [1_000_000]}), "input"),
            (json!({"input": "x ".repeat(3000)}), "input"),
        ] {
            let error = ask(more).await["error"].clone();
            assert_eq!(
                (&error["status"], &error["param"]),
                (&json!(400), &json!(field)),
                "{error}"
            );
        }
        both.push(first);
    }
    assert_eq!(both.first(), both.last());
}

/// An engine that has no vectors names what it cannot take.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_vectors_says_so() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let call = json!({"do": "embedding", "params": {"model": MODEL, "input": "a"}});
        let error = sdk.at(&proxy).call(call).await["error"].clone();
        assert_eq!((&error["status"], &error["param"]), (&json!(400), &json!("input")), "{error}");
    }
}

fn vectors(seen: &Value) -> Vec<Vec<f64>> {
    assert!(seen["error"].is_null(), "{seen}");
    // As the model made them: what base64 holds has no more digits.
    let narrow = |number: &Value| {
        let text = number.as_f64().unwrap().to_string();
        f64::from(text.parse::<f32>().unwrap())
    };
    let vector = |vector: &Value| vector.as_array().unwrap().iter().map(narrow).collect();
    seen["vectors"].as_array().unwrap().iter().map(vector).collect()
}
