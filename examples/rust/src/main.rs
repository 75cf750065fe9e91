//! A small app in Rust with OpenFeature's own SDK and flagd's provider. It
//! prints what the flag welcome-banner serves, again when that changes:
//!
//!     PLIMSOLL_SERVER=127.0.0.1:8013 PLIMSOLL_MODE=in-process cargo run
//!
//! PLIMSOLL_MODE is rpc, in-process or ofrep. With --json it answers lines of
//! standard input instead, as examples/interop describes.

use std::{env, error::Error, io, time::Duration};

use open_feature::{Client, EvaluationContext, EvaluationResult, OpenFeature, StructValue, Value};
use open_feature_flagd::{FlagdOptions, FlagdProvider, ResolverType};
use serde_json::{Value as Json, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = env::var("PLIMSOLL_SERVER").unwrap_or("127.0.0.1:8013".into());
    let (host, port) = server.split_once(':').ok_or("PLIMSOLL_SERVER is not host:port")?;
    let resolver_type = match env::var("PLIMSOLL_MODE").as_deref() {
        Ok("in-process") => ResolverType::InProcess,
        Ok("ofrep") => ResolverType::Rest,
        _ => ResolverType::Rpc,
    };
    let options = FlagdOptions {
        host: host.into(),
        port: port.parse()?,
        resolver_type,
        deadline_ms: 5000,
        cache_settings: None, // it is not told of changes, and would hide them for a minute
        ..Default::default()
    };
    let provider = FlagdProvider::new(options).await?;
    OpenFeature::singleton_mut().await.set_provider(provider).await;
    let client = OpenFeature::singleton().await.create_client();

    if env::args().any(|argument| argument == "--json") {
        for line in io::stdin().lines() {
            println!("{}", answer(&client, &serde_json::from_str(&line?)?).await);
        }
        return Ok(());
    }
    let visitor = EvaluationContext::default().with_targeting_key("visitor-1");
    let mut last = String::new();
    loop {
        let now = client.get_string_value("welcome-banner", Some(&visitor), None).await.unwrap_or("none".into());
        if now != last {
            println!("{now}");
            last = now;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn answer(client: &Client, line: &Json) -> Json {
    if line.get("wait").is_some() {
        return json!({"event": "none"}); // the SDK has no events yet
    }
    let flag = line["flag"].as_str().unwrap_or_default();
    let context = context(&line["context"]);
    let context = Some(&context);
    match line["type"].as_str() {
        Some("bool") => details(line, client.get_bool_details(flag, context, None).await, Value::Bool),
        Some("string") => details(line, client.get_string_details(flag, context, None).await, Value::String),
        Some("int") => details(line, client.get_int_details(flag, context, None).await, Value::Int),
        Some("float") => details(line, client.get_float_details(flag, context, None).await, Value::Float),
        _ => details(line, client.get_struct_details::<StructValue>(flag, context, None).await, Value::Struct),
    }
}

fn context(attributes: &Json) -> EvaluationContext {
    let mut context = EvaluationContext::default();
    for (key, value) in attributes.as_object().into_iter().flatten() {
        match value {
            Json::String(text) if key == "targetingKey" => context.targeting_key = Some(text.clone()),
            Json::String(text) => context.add_custom_field(key, text.clone()),
            Json::Bool(flag) => context.add_custom_field(key, *flag),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => context.add_custom_field(key, whole),
                None => context.add_custom_field(key, number.as_f64().unwrap_or_default()),
            },
            _ => {} // the SDK's contexts are flat
        }
    }
    context
}

fn details<T>(line: &Json, found: EvaluationResult<open_feature::EvaluationDetails<T>>, value: fn(T) -> Value) -> Json {
    match found {
        Ok(found) => json!({
            "flag": line["flag"],
            "value": plain(value(found.value)),
            "variant": found.variant,
            "reason": found.reason.map(|reason| reason.to_string()),
        }),
        // The SDK has no default: it is up to the caller.
        Err(error) => json!({
            "flag": line["flag"],
            "value": line["default"],
            "reason": "ERROR",
            "errorCode": error.code.to_string(),
        }),
    }
}

fn plain(value: Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Struct(value) => Json::Object(value.fields.into_iter().map(|(key, value)| (key, plain(value))).collect()),
    }
}
