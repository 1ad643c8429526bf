/** Which of the two JSX runtimes Bun chose. */
export const element = <made />;
