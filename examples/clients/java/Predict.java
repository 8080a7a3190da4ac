// Send a de-identified DICOM study to a glioserve server.
//
//   make
//   java -Djava.library.path=native -cp 'classes:/usr/share/java/*' Predict STUDY 127.0.0.1:8001 --heatmap heatmap.nrrd

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub;
import inference.Inference.InferParameter;
import inference.Inference.ModelInferRequest;
import inference.Inference.ModelInferResponse;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

public final class Predict {
  /** Major version of the contract that this program was written for. */
  private static final String CONTRACT = "2";

  /** Codes that a call can end with and that docs/errors.md marks "yes, with backoff". */
  private static final Set<String> RETRYABLE =
      Set.of("GLIO-3102", "GLIO-3103", "GLIO-3104", "GLIO-4101", "GLIO-4102", "GLIO-4103", "GLIO-4111");

  private static final String STAGE_LOST = "GLIO-3103";
  private static final String DEADLINE_PASSED = "GLIO-3104";
  private static final Pattern TOKEN = Pattern.compile("GLIO-\\d{4}");
  private static final Pattern DEAD_STAGE = Pattern.compile("tub process\\b.*\\bis not healthy|health mutex");
  private static final Pattern NO_SHARED_MEMORY = Pattern.compile("Failed to .* shared memory");
  private static final String USAGE =
      "usage: Predict STUDY HOST:PORT [--tls-ca F] [--token-file F] [--timeout-s S] [--heatmap F]";

  /** Exit codes are those of {@code glioserve predict}. */
  public static void main(String[] words) throws Exception {
    System.exit(run(words));
  }

  private static int run(String[] words) throws Exception {
    Map<String, String> options = new HashMap<>(Map.of("--timeout-s", "120"));
    if (words.length < 2 || words.length % 2 != 0) {
      System.err.println(USAGE);
      return 2;
    }
    for (int i = 2; i < words.length; i += 2) {
      options.put(words[i], words[i + 1]);
    }
    if (!Set.of("--tls-ca", "--token-file", "--timeout-s", "--heatmap").containsAll(options.keySet())) {
      System.err.println(USAGE);
      return 2;
    }
    String heatmap = options.get("--heatmap");
    // Studies and heat maps are larger than the 4 MB that gRPC takes by default.
    NettyChannelBuilder builder =
        NettyChannelBuilder.forTarget(words[1]).maxInboundMessageSize(Integer.MAX_VALUE);
    if (options.containsKey("--tls-ca")) {
      File authority = new File(options.get("--tls-ca"));
      builder.sslContext(GrpcSslContexts.forClient().trustManager(authority).build());
    } else {
      builder.usePlaintext();
    }
    ManagedChannel channel = builder.build();
    try {
      GRPCInferenceServiceBlockingStub stub = GRPCInferenceServiceGrpc.newBlockingStub(channel);
      if (options.containsKey("--token-file")) {
        Metadata headers = new Metadata();
        String token = Files.readString(Path.of(options.get("--token-file"))).trim();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        stub = stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
      }
      ModelInferRequest request = requestOf(Path.of(words[0]), heatmap != null);
      double timeoutS = Double.parseDouble(options.get("--timeout-s"));
      return show(infer(stub, request, timeoutS), heatmap);
    } catch (StatusRuntimeException error) {
      System.err.println(error.getStatus().getCode() + ": " + error.getStatus().getDescription());
      return exitCode(error.getStatus());
    } finally {
      channel.shutdownNow();
    }
  }

  /** Put the files into one BYTES tensor: each has its length before it. */
  private static ModelInferRequest requestOf(Path study, boolean heatmap) throws IOException {
    List<Path> files;
    try (Stream<Path> found = Files.walk(study)) {
      files = found.filter(Files::isRegularFile).sorted().toList();
    }
    ByteString.Output content = ByteString.newOutput();
    for (Path file : files) {
      byte[] bytes = Files.readAllBytes(file);
      content.write(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(bytes.length).array());
      content.write(bytes);
    }
    ModelInferRequest.Builder request = ModelInferRequest.newBuilder().setModelName("glioma");
    request.addInputsBuilder().setName("INSTANCES").setDatatype("BYTES").addShape(files.size());
    request.addRawInputContents(content.toByteString());
    for (String name : List.of("SCORE", "LABEL", "PROBABILITIES", "REPORT")) {
      request.addOutputsBuilder().setName(name);
    }
    if (heatmap) {
      request.addOutputsBuilder().setName("HEATMAP");
      request.addOutputsBuilder().setName("HEATMAP_AFFINE");
    } else {
      request.putParameters("heatmap", InferParameter.newBuilder().setBoolParam(false).build());
    }
    return request.build();
  }

  /** Ask until there is an answer, a refusal that will stay one, or no time. */
  private static ModelInferResponse infer(
      GRPCInferenceServiceBlockingStub stub, ModelInferRequest request, double timeoutS)
      throws InterruptedException {
    long deadline = System.nanoTime() + (long) (timeoutS * 1e9);
    boolean clocksAgree = true;
    int lost = 0;
    for (int attempt = 0; ; attempt++) {
      long leftUs = Math.max(1000, (deadline - System.nanoTime()) / 1000);
      ModelInferRequest.Builder timed = request.toBuilder().putParameters("timeout", number(leftUs));
      if (clocksAgree) {
        timed.putParameters("deadline_unix_ms", number(System.currentTimeMillis() + leftUs / 1000));
      }
      try {
        return stub.withDeadlineAfter(leftUs, TimeUnit.MICROSECONDS).modelInfer(timed.build());
      } catch (StatusRuntimeException error) {
        String code = codeOf(error.getStatus());
        clocksAgree = clocksAgree && !code.equals(DEADLINE_PASSED);
        lost += code.equals(STAGE_LOST) ? 1 : 0;
        double mostS = Math.min(10, 0.5 * Math.pow(2, attempt));
        double pauseS = ThreadLocalRandom.current().nextDouble() * mostS + 3 * lost;
        boolean late = System.nanoTime() + (long) (pauseS * 1e9) >= deadline;
        if (!RETRYABLE.contains(code) || lost > 3 || late) {
          throw error;
        }
        Thread.sleep((long) (pauseS * 1000));
      }
    }
  }

  private static InferParameter number(long value) {
    return InferParameter.newBuilder().setInt64Param(value).build();
  }

  /** Return the token anywhere in the message; without one, what the status stands for, or nothing. */
  private static String codeOf(Status status) {
    String message = status.getDescription() == null ? "" : status.getDescription();
    Matcher token = TOKEN.matcher(message);
    if (token.find()) {
      return token.group();
    }
    switch (status.getCode()) {
      case UNAVAILABLE:
        return "GLIO-4101";
      case DEADLINE_EXCEEDED:
        return "GLIO-4102";
      case NOT_FOUND:
        return "GLIO-4103";
      case RESOURCE_EXHAUSTED:
        // gRPC for Java says "exceeds maximum size" of its own limit on answers.
        return message.contains("larger than max") || message.contains("exceeds maximum size") ? "" : "GLIO-4101";
      case INTERNAL:
        if (DEAD_STAGE.matcher(message).find()) return STAGE_LOST;
        return NO_SHARED_MEMORY.matcher(message).find() ? "GLIO-4101" : "";
      default:
        return "";
    }
  }

  /** Return 3 to send it later, 4 to change the study, 5 to change the credentials, 1 for a server's fault. */
  private static int exitCode(Status status) {
    if (RETRYABLE.contains(codeOf(status))) {
      return 3;
    }
    switch (status.getCode()) {
      case INVALID_ARGUMENT:
      case RESOURCE_EXHAUSTED:
        return 4;
      case UNAUTHENTICATED:
      case PERMISSION_DENIED:
        return 5;
      default:
        return 1;
    }
  }

  /** Print the answer and write the heat map. Outputs come in any order. */
  private static int show(ModelInferResponse answer, String heatmap) throws IOException {
    Map<String, Integer> index = new HashMap<>();
    for (int i = 0; i < answer.getOutputsCount(); i++) {
      index.put(answer.getOutputs(i).getName(), i);
    }
    JsonObject report = JsonParser.parseString(text(answer, index.get("REPORT"))).getAsJsonObject();
    String speaks = report.get("contract_version").getAsString();
    if (!speaks.split("\\.")[0].equals(CONTRACT)) {
      System.err.println("the server speaks contract " + speaks);
      return 1;
    }
    ByteBuffer score = values(answer, index.get("SCORE"));
    ByteBuffer probabilities = values(answer, index.get("PROBABILITIES"));
    String label = text(answer, index.get("LABEL"));
    if (label.isEmpty()) {
      StringJoiner reasons = new StringJoiner("; ", "none: ", "");
      report.getAsJsonArray("abstained_because").forEach(reason -> reasons.add(reason.getAsString()));
      label = reasons.toString();
    }
    System.out.printf(Locale.ROOT, "score %.6f%nlabel %s%n", score.getFloat(), label);
    System.out.printf(
        Locale.ROOT, "probabilities %.6f %.6f%n", probabilities.getFloat(), probabilities.getFloat());
    for (JsonElement warning : report.getAsJsonArray("warnings")) {
      System.out.println("warning " + warning.getAsString());
    }
    if (heatmap != null) {
      List<Long> shape = answer.getOutputs(index.get("HEATMAP")).getShapeList();
      try (OutputStream file = Files.newOutputStream(Path.of(heatmap))) {
        file.write(nrrdHeader(shape, values(answer, index.get("HEATMAP_AFFINE"))));
        answer.getRawOutputContents(index.get("HEATMAP")).writeTo(file);
      }
      System.out.println("heatmap " + shape.get(0) + " " + shape.get(1) + " " + shape.get(2));
    }
    return 0;
  }

  private static ByteBuffer values(ModelInferResponse answer, int output) {
    return answer.getRawOutputContents(output).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Return the one element of a BYTES tensor, which has its length before it. */
  private static String text(ModelInferResponse answer, int output) {
    return answer.getRawOutputContents(output).substring(4).toStringUtf8();
  }

  /** Return the header of the heat map: [z, y, x] on disk is x fastest, and LPS is the affine's own space. */
  private static byte[] nrrdHeader(List<Long> shape, ByteBuffer affine) {
    String[] columns = new String[4];
    for (int i = 0; i < 4; i++) {
      columns[i] =
          "(" + affine.getDouble(8 * i) + "," + affine.getDouble(8 * (4 + i)) + "," + affine.getDouble(8 * (8 + i)) + ")";
    }
    return String.join(
            "\n",
            "NRRD0004",
            "type: float",
            "dimension: 3",
            "space: left-posterior-superior",
            "endian: little",
            "encoding: raw",
            "sizes: " + shape.get(2) + " " + shape.get(1) + " " + shape.get(0),
            "space directions: " + columns[0] + " " + columns[1] + " " + columns[2],
            "space origin: " + columns[3],
            "",
            "")
        .getBytes(StandardCharsets.US_ASCII);
  }
}
