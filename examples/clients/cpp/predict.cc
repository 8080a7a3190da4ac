// Send a de-identified DICOM study to a glioserve server.
//
//   make && ./predict STUDY 127.0.0.1:8001 --heatmap heatmap.nrrd

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "inference.grpc.pb.h"

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::system_clock;

// Major version of the contract that this program was written for.
const std::string kContract = "2";
// Codes that a call can end with and that docs/errors.md marks "yes, with backoff".
const std::set<std::string> kRetryable = {"GLIO-3102", "GLIO-3103", "GLIO-3104", "GLIO-4101",
                                          "GLIO-4102", "GLIO-4103", "GLIO-4111"};
const std::string kStageLost = "GLIO-3103";
const std::string kDeadlinePassed = "GLIO-3104";

struct Options {
  std::string study, server, tls_ca, token_file, heatmap;
  double timeout_s = 120;
};

std::string Read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Put the files into one BYTES tensor: each has its length before it, as four bytes, the lowest first.
inference::ModelInferRequest RequestOf(const std::string& study, bool heatmap) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(study)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  inference::ModelInferRequest request;
  request.set_model_name("glioma");
  auto* tensor = request.add_inputs();
  tensor->set_name("INSTANCES");
  tensor->set_datatype("BYTES");
  tensor->add_shape(static_cast<int64_t>(paths.size()));
  std::string* content = request.add_raw_input_contents();
  for (const auto& path : paths) {
    const std::string file = Read(path);
    for (int shift = 0; shift < 32; shift += 8) content->push_back(static_cast<char>(file.size() >> shift & 0xff));
    content->append(file);
  }
  for (const char* name : {"SCORE", "LABEL", "PROBABILITIES", "REPORT"}) request.add_outputs()->set_name(name);
  if (heatmap) {
    for (const char* name : {"HEATMAP", "HEATMAP_AFFINE"}) request.add_outputs()->set_name(name);
  } else {
    (*request.mutable_parameters())["heatmap"].set_bool_param(false);
  }
  return request;
}

// Return the token anywhere in the message; without one, what the status stands for, or nothing.
std::string CodeOf(const grpc::Status& status) {
  const std::string message = status.error_message();
  std::smatch found;
  if (std::regex_search(message, found, std::regex("GLIO-\\d{4}"))) return found.str();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return "GLIO-4101";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "GLIO-4102";
    case grpc::StatusCode::NOT_FOUND:
      return "GLIO-4103";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return message.find("larger than max") == std::string::npos ? "GLIO-4101" : "";
    case grpc::StatusCode::INTERNAL:
      if (std::regex_search(message, std::regex("tub process\\b.*\\bis not healthy|health mutex"))) return kStageLost;
      return std::regex_search(message, std::regex("Failed to .* shared memory")) ? "GLIO-4101" : "";
    default:
      return "";
  }
}

// Return 3 to send it later, 4 to change the study, 5 to change the credentials, 1 for a fault of the server.
int ExitCode(const grpc::Status& status) {
  if (kRetryable.count(CodeOf(status))) return 3;
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return 4;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return 5;
    default:
      return 1;
  }
}

// Ask until there is an answer, a refusal that will stay one, or no time.
grpc::Status Infer(inference::GRPCInferenceService::Stub& stub, inference::ModelInferRequest& request,
                   const std::string& token, double timeout_s, inference::ModelInferResponse* answer) {
  const auto deadline = system_clock::now() + milliseconds(static_cast<int64_t>(timeout_s * 1000));
  std::mt19937 random{std::random_device{}()};
  bool clocks_agree = true;
  int lost = 0;
  for (int attempt = 0;; ++attempt) {
    const auto left = std::max(milliseconds(1), std::chrono::duration_cast<milliseconds>(deadline - system_clock::now()));
    auto& parameters = *request.mutable_parameters();
    parameters["timeout"].set_int64_param(left.count() * 1000);  // microseconds
    parameters.erase("deadline_unix_ms");
    if (clocks_agree) {
      const auto since_1970 = std::chrono::duration_cast<milliseconds>(deadline.time_since_epoch());
      parameters["deadline_unix_ms"].set_int64_param(since_1970.count());
    }
    grpc::ClientContext context;
    context.set_deadline(deadline);
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    const grpc::Status status = stub.ModelInfer(&context, request, answer);
    if (status.ok()) return status;
    const std::string code = CodeOf(status);
    clocks_agree = clocks_agree && code != kDeadlinePassed;
    lost += code == kStageLost;
    const double most_s = std::min(10.0, 0.5 * (1 << std::min(attempt, 5)));
    const double pause_s = std::uniform_real_distribution<>(0, most_s)(random) + 3 * lost;
    const auto pause = milliseconds(static_cast<int64_t>(pause_s * 1000));
    if (!kRetryable.count(code) || lost > 3 || system_clock::now() + pause >= deadline) return status;
    std::this_thread::sleep_for(pause);
  }
}

// Return the header of the heat map: [z, y, x] on disk is x fastest, and LPS is the affine's own space.
std::string NrrdHeader(const inference::ModelInferResponse::InferOutputTensor& tensor, const std::string& affine) {
  double a[16];
  std::memcpy(a, affine.data(), sizeof a);
  std::ostringstream text;
  text.precision(17);
  const auto column = [&](int i) {
    text << " (" << a[i] << "," << a[4 + i] << "," << a[8 + i] << ")";
  };
  text << "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nendian: little\nencoding: raw\n"
       << "sizes: " << tensor.shape(2) << " " << tensor.shape(1) << " " << tensor.shape(0) << "\nspace directions:";
  for (int i = 0; i < 3; ++i) column(i);
  text << "\nspace origin:";
  column(3);
  text << "\n\n";
  return text.str();
}

// Print the answer and write the heat map. Outputs come in any order.
int Show(const inference::ModelInferResponse& answer, const std::string& heatmap) {
  std::map<std::string, int> index;
  for (int i = 0; i < answer.outputs_size(); ++i) index[answer.outputs(i).name()] = i;
  const auto raw = [&](const char* name) -> const std::string& { return answer.raw_output_contents(index.at(name)); };
  // BYTES elements have their length before them.
  google::protobuf::Struct report;
  const auto parsed = google::protobuf::util::JsonStringToMessage(raw("REPORT").substr(4), &report);
  if (!parsed.ok()) throw std::runtime_error("REPORT is not JSON");
  const auto& fields = report.fields();
  const std::string& speaks = fields.at("contract_version").string_value();
  if (speaks.substr(0, speaks.find('.')) != kContract) {
    std::cerr << "the server speaks contract " << speaks << "\n";
    return 1;
  }
  float score, probabilities[2];
  std::memcpy(&score, raw("SCORE").data(), sizeof score);
  std::memcpy(probabilities, raw("PROBABILITIES").data(), sizeof probabilities);
  std::string label = raw("LABEL").substr(4);
  if (label.empty()) {
    label = "none:";
    for (const auto& reason : fields.at("abstained_because").list_value().values()) label += " " + reason.string_value();
  }
  std::printf("score %.6f\nlabel %s\n", score, label.c_str());
  std::printf("probabilities %.6f %.6f\n", probabilities[0], probabilities[1]);
  for (const auto& warning : fields.at("warnings").list_value().values()) {
    std::printf("warning %s\n", warning.string_value().c_str());
  }
  if (!heatmap.empty()) {
    const auto& tensor = answer.outputs(index.at("HEATMAP"));
    std::ofstream file(heatmap, std::ios::binary);
    file << NrrdHeader(tensor, raw("HEATMAP_AFFINE")) << raw("HEATMAP");
    if (!file.flush()) throw std::runtime_error("cannot write " + heatmap);
    std::printf("heatmap %ld %ld %ld\n", tensor.shape(0), tensor.shape(1), tensor.shape(2));
  }
  return 0;
}

bool Parse(int argc, char** argv, Options* options) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 2 || words.size() % 2) return false;
  options->study = words[0];
  options->server = words[1];
  const std::map<std::string, std::string*> texts = {
      {"--tls-ca", &options->tls_ca}, {"--token-file", &options->token_file}, {"--heatmap", &options->heatmap}};
  for (size_t i = 2; i < words.size(); i += 2) {
    if (words[i] == "--timeout-s") {
      options->timeout_s = std::stod(words[i + 1]);
    } else if (texts.count(words[i])) {
      *texts.at(words[i]) = words[i + 1];
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

// Exit codes are those of `glioserve predict`.
int main(int argc, char** argv) try {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::cerr << "usage: predict STUDY HOST:PORT [--tls-ca F] [--token-file F] [--timeout-s S] [--heatmap F]\n";
    return 2;
  }
  grpc::ChannelArguments arguments;  // studies and heat maps are larger than the 4 MB that gRPC takes by default
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetMaxReceiveMessageSize(-1);
  auto credentials = grpc::InsecureChannelCredentials();
  if (!options.tls_ca.empty()) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = Read(options.tls_ca);
    credentials = grpc::SslCredentials(tls);
  }
  std::string token;
  if (!options.token_file.empty()) std::istringstream(Read(options.token_file)) >> token;
  const auto stub = inference::GRPCInferenceService::NewStub(
      grpc::CreateCustomChannel(options.server, credentials, arguments));
  auto request = RequestOf(options.study, !options.heatmap.empty());
  inference::ModelInferResponse answer;
  const auto status = Infer(*stub, request, token, options.timeout_s, &answer);
  if (!status.ok()) {
    std::cerr << "gRPC status " << status.error_code() << ": " << status.error_message() << "\n";
    return ExitCode(status);
  }
  return Show(answer, options.heatmap);
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
