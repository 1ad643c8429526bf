// With `ttl: 0` nothing survives a request: the counter is always 1, and the process id is always another.
let requests = 0;

export default {
  fetch() {
    requests += 1;
    return Response.json({ pid: process.pid, requests });
  },
};
