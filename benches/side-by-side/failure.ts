/** Something the reader can do something about: it is printed without a stack. */
export class Failure extends Error {}
