// Answers with npm's `semver`. A JSON list of {versions, spec} comes in on stdin, a JSON list of answers goes out on
// stdout: what the spec and the bare name mean among the versions, and which texts npm holds for versions and ranges.
const semver = require("semver");

const answer = ({ versions, spec }) => {
  const valid = versions.filter(version => semver.valid(version) !== null);
  const max = (range, options) => semver.maxSatisfying(valid, range, options);
  return {
    valid,
    default: max("*") ?? max("*", { includePrerelease: true }),
    means: max(spec),
    isRange: semver.validRange(spec) !== null,
  };
};

const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(cases.map(answer)));
