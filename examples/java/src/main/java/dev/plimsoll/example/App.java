package dev.plimsoll.example;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import dev.openfeature.contrib.providers.flagd.Config;
import dev.openfeature.contrib.providers.flagd.FlagdOptions;
import dev.openfeature.contrib.providers.flagd.FlagdProvider;
import dev.openfeature.contrib.providers.ofrep.OfrepProvider;
import dev.openfeature.contrib.providers.ofrep.OfrepProviderOptions;
import dev.openfeature.sdk.Client;
import dev.openfeature.sdk.EvaluationContext;
import dev.openfeature.sdk.FeatureProvider;
import dev.openfeature.sdk.FlagEvaluationDetails;
import dev.openfeature.sdk.ImmutableContext;
import dev.openfeature.sdk.ImmutableStructure;
import dev.openfeature.sdk.OpenFeatureAPI;
import dev.openfeature.sdk.Value;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * A small app in Java with OpenFeature's own SDK and providers. It prints what
 * the flag welcome-banner serves, again whenever flags change. PLIMSOLL_SERVER
 * is the server's host:port; PLIMSOLL_MODE is rpc, in-process or ofrep. With
 * --json it answers lines of standard input instead, as examples/interop
 * describes.
 */
public final class App {
    private static final String SERVER = System.getenv().getOrDefault("PLIMSOLL_SERVER", "127.0.0.1:8013");
    private static final String MODE = System.getenv().getOrDefault("PLIMSOLL_MODE", "rpc");
    private static final Gson GSON = new Gson();

    private final Client client = OpenFeatureAPI.getInstance().getClient();
    private final Semaphore changes = new Semaphore(0);

    public static void main(String[] args) throws Exception {
        OpenFeatureAPI.getInstance().setProviderAndWait(newProvider());
        App app = new App();
        app.client.onProviderConfigurationChanged(details -> app.changes.release());
        if (Arrays.asList(args).contains("--json")) {
            app.answerLines();
        } else {
            app.show();
        }
        OpenFeatureAPI.getInstance().shutdown();
        System.exit(0);
    }

    private static FeatureProvider newProvider() {
        if (MODE.equals("ofrep")) {
            return OfrepProvider.constructProvider(
                    OfrepProviderOptions.builder().baseUrl("http://" + SERVER).build());
        }
        String[] address = SERVER.split(":");
        return new FlagdProvider(FlagdOptions.builder()
                .host(address[0])
                .port(Integer.parseInt(address[1]))
                .deadline(15000)
                .resolverType(MODE.equals("in-process") ? Config.Resolver.IN_PROCESS : Config.Resolver.RPC)
                .build());
    }

    private void show() throws InterruptedException {
        while (true) {
            System.out.println(client.getStringValue("welcome-banner", "none", new ImmutableContext("visitor-1")));
            if (MODE.equals("ofrep")) {
                TimeUnit.SECONDS.sleep(1);
            } else {
                changes.acquire();
            }
        }
    }

    private void answerLines() throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(GSON.toJson(answer(GSON.fromJson(line, JsonObject.class))));
        }
    }

    private Map<String, Object> answer(JsonObject line) throws InterruptedException {
        if (line.has("wait")) {
            if (MODE.equals("ofrep")) {
                return Map.of("event", "none"); // a provider without events
            }
            changes.acquire();
            changes.drainPermits();
            return Map.of("event", "change");
        }
        FlagEvaluationDetails<?> found = evaluate(line);
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("flag", found.getFlagKey());
        answer.put("value", found.getValue() instanceof Value value ? plain(value) : found.getValue());
        answer.put("variant", found.getVariant());
        answer.put("reason", found.getReason());
        answer.put("errorCode", found.getErrorCode());
        return answer;
    }

    private FlagEvaluationDetails<?> evaluate(JsonObject line) {
        String flag = line.get("flag").getAsString();
        JsonElement fallback = line.get("default");
        EvaluationContext context = context(line.getAsJsonObject("context"));
        return switch (line.get("type").getAsString()) {
            case "bool" -> client.getBooleanDetails(flag, fallback.getAsBoolean(), context);
            case "string" -> client.getStringDetails(flag, fallback.getAsString(), context);
            case "int" -> client.getIntegerDetails(flag, fallback.getAsInt(), context);
            case "float" -> client.getDoubleDetails(flag, fallback.getAsDouble(), context);
            default -> client.getObjectDetails(flag, value(fallback), context);
        };
    }

    private static EvaluationContext context(JsonObject attributes) {
        if (attributes == null) {
            return new ImmutableContext();
        }
        Map<String, Value> values = new LinkedHashMap<>();
        attributes.asMap().forEach((key, element) -> values.put(key, value(element)));
        Value targetingKey = values.remove("targetingKey");
        return targetingKey == null
                ? new ImmutableContext(values)
                : new ImmutableContext(targetingKey.asString(), values);
    }

    private static Value value(JsonElement element) {
        if (element instanceof JsonObject object) {
            Map<String, Value> fields = new LinkedHashMap<>();
            object.asMap().forEach((key, field) -> fields.put(key, value(field)));
            return new Value(new ImmutableStructure(fields));
        }
        if (element instanceof JsonArray array) {
            return new Value(array.asList().stream().map(App::value).toList());
        }
        if (!(element instanceof JsonPrimitive primitive)) {
            return new Value();
        }
        if (primitive.isBoolean()) {
            return new Value(primitive.getAsBoolean());
        }
        if (primitive.isString()) {
            return new Value(primitive.getAsString());
        }
        double number = primitive.getAsDouble();
        return number == (int) number ? new Value((int) number) : new Value(number);
    }

    private static Object plain(Value value) {
        if (value.isStructure()) {
            return value.asStructure().asObjectMap();
        }
        return value.asObject();
    }
}
