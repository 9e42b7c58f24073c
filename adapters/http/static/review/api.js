// The review API, as this page uses it. Refusals become ApiError with our stable code.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.title || "The service did not answer.");
    this.status = status;
    this.problem = problem;
    this.code = (problem.type || "").split(":").pop();
  }
}

let clockLead = 0; // how far the server's clock is ahead of ours, in milliseconds

export const now = () => Date.now() + clockLead;

async function ask(method, path, { body, etag } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Clinical-Request"] = "review-page";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, { title: "The service cannot be reached.", type: "page:unreachable" });
  }
  const stamp = Date.parse(response.headers.get("Date") ?? "");
  if (!Number.isNaN(stamp)) clockLead = stamp + 999 - Date.now(); // the header has whole seconds
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok && response.status !== 503) throw new ApiError(response.status, answer);
  if (response.status === 503 && !answer.database) throw new ApiError(503, answer);
  return { answer, etag: response.headers.get("ETag") };
}

const get = async (path) => (await ask("GET", path)).answer;
const at = (id, rest = "") => `/v1/reviews/${encodeURIComponent(id)}${rest}`;

export const whoami = () => get("/v1/session");
export const signIn = async (name, password) =>
  (await ask("POST", "/v1/session", { body: { name, password } })).answer;
export const signOut = () => ask("DELETE", "/v1/session");
export const worklist = (query) => get(`/v1/reviews?${query}`);
export const item = (id) => get(at(id));
export const timeline = (id, days) => get(at(id, `/timeline${days ? `?days=${days}` : ""}`));
export const similar = (id) => get(at(id, "/similar"));
export const history = (id) => get(at(id, "/history"));
export const planLibrary = () => get("/v1/plan-library");
export const planComparisons = (id) => get(at(id, "/plan-comparisons"));
export const comparePlans = async (id, wishes) => (await ask("POST", at(id, "/plan-comparisons"), { body: wishes })).answer;
export const notices = () => get("/v1/notices");
export const lookAgain = (id) => ask("POST", at(id, ":look-again"));
export const head = () => get("/v1/audit/head");
export const readiness = () => get("/health/ready");
export const proofAddress = (entryId) => `/v1/audit/entries/${encodeURIComponent(entryId)}/proof`;

export const move = async (review, verb, body) =>
  (await ask("POST", at(review.review_id, `:${verb}`), { body, etag: `"v${review.version}"` })).answer;
