export type Book = { isbn: string; title: string };

export const books: Book[] = [
  { isbn: "9780262510875", title: "Structure and Interpretation of Computer Programs" },
  { isbn: "9780201038019", title: "The Art of Computer Programming, Volume 1" },
];
